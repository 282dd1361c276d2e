#include "arrow_quant/diffusion/boundary_smoothing.h"

#include <algorithm>
#include <cmath>

namespace arrow_quant {
namespace {

constexpr double kSteepness = 10;       // of the sigmoid
constexpr double kLeastWidth = 1e-300;  // of a range, for its logarithm

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double cubic_step(double u) {
  const double v = 3 * u;
  if (v <= 1) return v * v * v / 6;
  if (v <= 2) return (((-2 * v + 9) * v - 9) * v + 3) / 6;
  return 1 - (3 - v) * (3 - v) * (3 - v) / 6;
}

double geometric(double a, double b, double share) {
  return share == 0 ? a : std::exp(std::lerp(std::log(a), std::log(b), share));
}

}  // namespace

double blend_curve(InterpolationMethod method, double u) {
  if (u <= 0) return 0;
  if (u >= 1) return 1;
  switch (method) {
    case InterpolationMethod::Linear:
      return u;
    case InterpolationMethod::Cubic:
      return cubic_step(u);
    case InterpolationMethod::Sigmoid:
      break;
  }
  const double end = sigmoid(-kSteepness / 2);
  return (sigmoid(kSteepness * (u - 0.5)) - end) / (1 - 2 * end);
}

StepBlend BoundaryBlend::at(double step) const {
  // The boundary whose window may hold the step: before or after the group it is nearest to.
  size_t group = 0;
  while (group + 1 < begins.size() && static_cast<double>(begins[group + 1]) - 0.5 <= step) {
    ++group;
  }
  const auto length = [&](size_t g) {
    return static_cast<double>((g + 1 < begins.size() ? begins[g + 1] : steps) - begins[g]);
  };
  const double middle = static_cast<double>(begins[group]) - 0.5 + length(group) / 2;
  const bool before = group > 0 && step < middle;
  if (!before && group + 1 == begins.size()) return {group, 0};
  const size_t earlier = before ? group - 1 : group;
  const double centre = static_cast<double>(begins[earlier + 1]) - 0.5;
  const double half = std::min({window, length(earlier), length(earlier + 1)}) / 2;
  const double share = blend_curve(method, (step - centre + half) / (2 * half));
  return share == 1 ? StepBlend{earlier + 1, 0} : StepBlend{earlier, share};
}

std::vector<StepBlend> blend_steps(const BoundaryBlend& blend) {
  std::vector<StepBlend> blends;
  blends.reserve(blend.steps);
  for (size_t t = 0; t < blend.steps; ++t) {
    blends.push_back(blend.at(static_cast<double>(t)));
  }
  return blends;
}

std::vector<float> expand_biases(std::span<const float> groups, size_t width,
                                 std::span<const StepBlend> blends) {
  std::vector<float> table;
  table.reserve(blends.size() * width);
  for (const StepBlend& blend : blends) {
    const std::span<const float> here = groups.subspan(blend.group * width, width);
    if (blend.later_share == 0) {
      table.insert(table.end(), here.begin(), here.end());
      continue;
    }
    const std::span<const float> later = groups.subspan((blend.group + 1) * width, width);
    for (size_t i = 0; i < width; ++i) {
      table.push_back(static_cast<float>(std::lerp(
          static_cast<double>(here[i]), static_cast<double>(later[i]), blend.later_share)));
    }
  }
  return table;
}

std::vector<double> expand_clips(std::span<const double> groups,
                                 std::span<const StepBlend> blends) {
  std::vector<double> table;
  table.reserve(blends.size());
  for (const StepBlend& blend : blends) {
    const size_t later = std::min(blend.group + 1, groups.size() - 1);
    table.push_back(geometric(groups[blend.group], groups[later], blend.later_share));
  }
  return table;
}

std::vector<ValueRange> expand_ranges(std::span<const ValueRange> groups,
                                      std::span<const StepBlend> blends) {
  std::vector<ValueRange> table;
  table.reserve(blends.size());
  for (const StepBlend& blend : blends) {
    const ValueRange& here = groups[blend.group];
    if (blend.later_share == 0) {
      table.push_back(here);
      continue;
    }
    const ValueRange& later = groups[blend.group + 1];
    const double width = geometric(std::max(here.width(), kLeastWidth),
                                   std::max(later.width(), kLeastWidth), blend.later_share);
    const double centre = std::lerp(here.centre(), later.centre(), blend.later_share);
    table.push_back({std::min(centre - width / 2, 0.0), std::max(centre + width / 2, 0.0)});
  }
  return table;
}

}  // namespace arrow_quant
