// From one vector of parameters per group of timesteps to one per step: around each boundary the
// two groups' parameters are interpolated, so that nothing jumps from one step to the next.
//
// The boundary between steps b − 1 and b lies at c = b − 1/2. Within c ± h, h = min(window, length
// of the shorter neighbour) / 2, the share of the later group grows from 0 to 1 along a curve; two
// windows never overlap, and where the window is longer than the groups everything between their
// centres is interpolated.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/thermodynamic.h"
#include "arrow_quant/diffusion/value_range.h"

namespace arrow_quant {

// The curve: 0 where u ≤ 0, 1 where u ≥ 1, rising between, symmetric about (1/2, 1/2).
//   Linear   u                            continuous
//   Cubic    a step convolved with the quadratic B-spline: three cubic pieces, continuous with
//            their first and second derivatives everywhere, ends included; never overshoots
//   Sigmoid  σ(10 (u − 1/2)), stretched so that it is exactly 0 and 1 at the ends
double blend_curve(InterpolationMethod method, double u);

// A step's parameters are (1 − later_share)·those of group + later_share·those of group + 1.
struct StepBlend {
  size_t group = 0;
  double later_share = 0;  // 0 … 1; 0 in the last group

  bool operator==(const StepBlend&) const = default;
};

struct BoundaryBlend {
  std::span<const size_t> begins;  // first step of each group; [0] = 0, rising
  size_t steps = 0;                // of all groups
  InterpolationMethod method = InterpolationMethod::Linear;
  double window = 5;  // in steps, > 0

  // At a step, or at a place between two steps; 0 ≤ step ≤ steps − 1.
  StepBlend at(double step) const;
};

// Of each step.
std::vector<StepBlend> blend_steps(const BoundaryBlend& blend);

// Bias corrections, linearly. groups: [groups, width] row-major; returns [blends, width].
std::vector<float> expand_biases(std::span<const float> groups, size_t width,
                                 std::span<const StepBlend> blends);

// Clip ratios in their logarithm.
std::vector<double> expand_clips(std::span<const double> groups, std::span<const StepBlend> blends);

// Ranges in the logarithm of their width and in their centre (their scale and zero point by
// themselves would pass through ranges that neither group has), then widened to hold 0. A range
// without width is left alone: its logarithm is that of 1e-300.
std::vector<ValueRange> expand_ranges(std::span<const ValueRange> groups,
                                      std::span<const StepBlend> blends);

}  // namespace arrow_quant
