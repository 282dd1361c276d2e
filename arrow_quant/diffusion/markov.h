// How far the parameters of neighbouring groups of timesteps lie apart, judged by how much of the
// state survives from one group to the next: where nothing survives, a jump says nothing. A
// diagnosis: it changes no parameter and fails no run.
//
// A jump is relative, ≥ 0, without unit and finite; boundary g lies between groups g and g + 1.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "arrow_quant/diffusion/value_range.h"

namespace arrow_quant {

// The geometric mean of the widths that are not 0; 1 if all are.
double mean_width(std::span<const ValueRange> ranges);

// Of ranges: the larger of the change of width, relative to the narrower one, and the change of
// centre, relative to the mean width of the layer's ranges.
double range_jump(const ValueRange& a, const ValueRange& b, double mean_width);

// Of clip ratios, both > 0: the change relative to the smaller.
double clip_jump(double a, double b);

// Of bias corrections, [out] each: ‖b − a‖ / output_norm, where output_norm is the root of the mean
// over rows of ‖y‖² in the first of the two groups, in units of the outputs.
double bias_jump(std::span<const float> a, std::span<const float> b, double output_norm);

// 1 − Σ coupling·min(1, jump) / Σ coupling, in [0, 1]: 1 = all groups have the same parameters.
// couplings: in (0, 1], as many as jumps (see group_couplings). No boundary: 1.
double markov_score(std::span<const double> jumps, std::span<const double> couplings);

enum class JumpCause {
  Unknown,        // no two estimates of one group to compare with
  SamplingNoise,  // smaller than twice the jump between two halves of one group's sample
  Real,           // the groups do differ
};
std::string_view to_string(JumpCause cause);  // "unknown", "sampling noise", "real"
JumpCause cause_of(double jump, std::optional<double> noise_floor);

struct Violation {
  size_t boundary = 0;
  double jump = 0;
  std::optional<double> noise_floor;
  JumpCause cause = JumpCause::Unknown;
};

struct MarkovDiagnosis {
  double score = 1;
  double largest_jump = 0;
  std::vector<Violation> violations;  // in the order of boundaries
};

// Jumps above the threshold (0 … 1) are violations. noise_floors: of each group, the jump between
// the parameters that two halves of its sample give; empty where that was not measured. The larger
// one of the two groups is a boundary's.
MarkovDiagnosis diagnose_jumps(std::span<const double> jumps, std::span<const double> couplings,
                               std::span<const double> noise_floors, double threshold);

// What it costs that two neighbours exchange their parameters: the mean of both relative increases
// of held-out error. 0: the boundary between them is not needed. Errors are > 0.
double swap_regret(double first, double first_with_second, double second, double second_with_first);

}  // namespace arrow_quant
