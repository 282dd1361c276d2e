// The parameters of activations that are tried, and what each would cost a layer: a table from
// which groups of timesteps and the parameters of each are chosen (see time_groups.h).
//
// A cost is the error of the layer's outputs relative to the outputs, over sampled rows of one
// step: Σ ‖(Q(x) − x)·Sᵀ‖² / Σ ‖x·Sᵀ‖², S the sketch of its weights; 0 where the outputs are 0. Not
// the error of x itself: ranges that are best for x are far from best for what the layer makes of
// it. Both sums are kept row by row, so that the costs of any of the rows need no second look.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/activation_quantizer.h"
#include "arrow_quant/diffusion/value_range.h"
#include "arrow_quant/diffusion/weight_sketch.h"

namespace arrow_quant {

// Dynamic quantization: 1.00, 0.95, … 0.40. The first does not clip, and wins where others equal
// it.
inline constexpr size_t kClipRatios = 13;
double clip_ratio(size_t candidate);

// Static quantization: each end of the calibrated range times one of 11 factors from 1.1 down to
// 0.12 in equal ratios; candidate = 11 · (factor of lo) + (factor of hi).
inline constexpr size_t kRangeFactors = 11;
inline constexpr size_t kRangeCandidates = kRangeFactors * kRangeFactors;
ValueRange range_candidate(const ValueRange& calibrated, size_t candidate);

// What each candidate makes of rows.
struct CandidateErrors {
  size_t candidates = 0;
  std::vector<double> errors;    // [rows, candidates]: ‖(Q(x) − x)·Sᵀ‖²
  std::vector<double> energies;  // [rows]: ‖x·Sᵀ‖²

  // Of each candidate, over some of the rows.
  std::vector<double> costs(std::span<const size_t> rows) const;
};

// Of rows [n, cols]; cols is the sketch's.
CandidateErrors clip_errors(std::span<const float> rows, int bits, const WeightSketch& sketch);
CandidateErrors range_errors(std::span<const float> rows, const ValueRange& calibrated, int bits,
                             const WeightSketch& sketch);

}  // namespace arrow_quant
