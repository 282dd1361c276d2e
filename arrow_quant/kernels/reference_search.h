// Scale and offset of a group as plain loops (reference.h): from its minimum and maximum, and by
// the search, whose weights are integers of 16 bits.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "arrow_quant/core/float16.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/search_plan.h"

namespace arrow_quant::kernels::reference {

inline constexpr float kHalfMax = 65504.0f;

inline float highest_code(int bits) {
  return bits == 8 ? 127.0f : float((1 << bits) - 1);
}
inline float lowest_code(int bits) {
  return bits == 8 ? -127.0f : 0.0f;
}

// Never −0.
inline float round_to_half(float v) {
  return half_to_float(float_to_half(v)) + 0.0f;
}
inline float round_offset(float v) {
  return round_to_half(std::min(std::max(v, -kHalfMax), kHalfMax));
}
inline float round_scale(float v) {
  return round_to_half(std::min(std::max(v, 0x1p-24f), kHalfMax));
}
inline float floor_to_half(float v) {
  const float rounded = round_to_half(v);
  if (rounded <= v) return rounded;
  const float power = rounded == 0.0f ? 0.0f : std::ldexp(1.0f, std::ilogb(rounded));
  return rounded - std::max(power * 0x1p-10f, 0x1p-24f);
}

struct Params {
  float scale = 1.0f;
  float offset = 0.0f;
};

inline Params params_from_range(int bits, float lo, float hi) {
  if (bits == 8) {
    const float abs_max = std::max(std::abs(lo), std::abs(hi));
    return {abs_max > 0 ? round_scale(abs_max / 127.0f) : 1.0f, 0.0f};
  }
  const float steps = highest_code(bits);
  float step = (hi - lo) / steps;
  const float low = std::min(std::max(lo, -kHalfMax), kHalfMax);
  float offset = round_to_half(low);
  if (std::abs(offset - low) > step * 0.5f) {
    offset = floor_to_half(low);
    step = hi > lo ? (hi - offset) / steps : hi - offset;
  }
  return {step > 0 ? round_scale(step) : 1.0f, offset};
}

inline int saturate(int v) {
  return std::clamp(v, -32768, 32767);
}
// Of two 16-bit integers: the product in 1 / 2^15, rounded half up.
inline int multiply_15(int a, int b) {
  return (a * b + (1 << 14)) >> 15;
}

// |d|^(p−2), times a constant of norm and bits.
template <int kBits>
int fixed_weight_of(ErrorNorm norm, int d) {
  const int magnitude = std::abs(d);
  switch (norm) {
    case ErrorNorm::P2:
      return 1 << 14;
    case ErrorNorm::P2_5:
      return static_cast<int>(std::nearbyint(std::sqrt(static_cast<float>(magnitude)) * 128.0f));
    case ErrorNorm::P3:
      return saturate(2 * magnitude);
    case ErrorNorm::P4: {
      const int scaled = saturate(magnitude << (14 - kFixed<kBits>.distance_bits));
      return multiply_15(scaled, scaled);
    }
  }
  return 0;
}
inline float unit_of(ErrorNorm norm, float scale) {
  const float square = scale * scale;
  if (norm == ErrorNorm::P2_5) return square * std::sqrt(scale);
  if (norm == ErrorNorm::P3) return square * scale;
  return norm == ErrorNorm::P4 ? square * square : square;
}

// The weights of a group, as a search reads them.
struct FixedGroup {
  float lo, hi, center, radius;
  std::vector<int> weights;  // in 1 / 32767 of the radius, from the center
};

inline FixedGroup fixed_group(int bits, std::span<const float> x, float lo, float hi) {
  const float center = bits == 8 ? 0.0f : (lo + hi) * 0.5f;
  const float radius =
      bits == 8 ? std::max(std::abs(lo), std::abs(hi)) : std::max(hi - center, center - lo);
  FixedGroup group = {lo, hi, center, radius, {}};
  const float factor = radius > kLeastRadius ? 32767.0f / radius : 0.0f;
  for (const float v : x) {
    group.weights.push_back(static_cast<int>(std::nearbyint((v - center) * factor)));
  }
  return group;
}

// A grid as the fixed-point weights see it.
template <int kBits>
class FixedGrid {
 public:
  FixedGrid(const FixedGroup& group, const Params& p) {
    const float inverse = 1.0f / p.scale;
    const float radius = group.radius * inverse;
    factor_ = static_cast<int>(std::nearbyint(std::min(radius * kFixed<kBits>.factor(), 32767.0f)));
    float excess = radius - 127.0f;
    if constexpr (kBits != 8) {
      const float steps = (group.center - p.offset) * inverse - kFixed<kBits>.middle;
      const float shift = steps * static_cast<float>(kOne);
      shift_ = static_cast<int>(std::nearbyint(std::clamp(shift, -32767.0f, 32767.0f)));
      const float above = group.hi - (p.offset + p.scale * (2.0f * kFixed<kBits>.middle));
      excess = std::max(above, p.offset - group.lo) * inverse;
    }
    fits_ = excess <= kFixed<kBits>.most_excess;
  }

  bool fits() const { return fits_; }

  // code: for 2 and 4 bits in half steps from the middle of the grid.
  struct Place {
    int code;
    int distance;  // in 1 / 2^distance_bits of a step
  };
  Place nearest_code(int weight) const {
    const int t = saturate(multiply_15(weight, factor_) + shift_);
    if constexpr (kBits == 8) {
      const int code = std::clamp(saturate(t + kOne / 2) >> kFixed<kBits>.fraction_bits, -127, 127);
      return {code, (t - code * kOne)
                        << (kFixed<kBits>.distance_bits - kFixed<kBits>.fraction_bits)};
    } else {
      const int most = static_cast<int>(2.0f * kFixed<kBits>.middle);
      const int code = std::clamp((t >> kFixed<kBits>.fraction_bits) * 2 + 1, -most, most);
      return {code, saturate(t - code * (kOne / 2))};
    }
  }

 private:
  static constexpr int kOne = 1 << kFixed<kBits>.fraction_bits;

  int factor_ = 0, shift_ = 0;
  bool fits_ = false;
};

// So many weights are added as integers, before floats go on.
inline constexpr size_t kBlock = 4;
inline std::span<const int> block_of(std::span<const int> weights, size_t first) {
  return weights.subspan(first, std::min(kBlock, weights.size() - first));
}

// Sums over a group whose codes are those of a grid.
struct FitSums {
  float loss = 0;
  float wqq = 0;
  int32_t wdq = 0, wd = 0, wq = 0, w = 0;
};

template <int kBits>
FitSums fit_sums(ErrorNorm norm, const FixedGroup& group, const Params& p) {
  const FixedGrid<kBits> grid(group, p);
  FitSums sums;
  for (size_t first = 0; first < group.weights.size(); first += kBlock) {
    uint32_t loss = 0, wqq = 0;  // integers, that wrap where a grid does not fit
    for (const int weight : block_of(group.weights, first)) {
      const auto [q, d] = grid.nearest_code(weight);
      const int w = fixed_weight_of<kBits>(norm, d);
      const int wd = multiply_15(w, d);
      loss += static_cast<uint32_t>(wd * d);
      wqq += static_cast<uint32_t>(w * (q * q));
      sums.wdq += wd * q;
      sums.wd += wd;
      sums.wq += w * q;
      sums.w += w;
    }
    sums.loss += static_cast<float>(static_cast<int32_t>(loss));
    sums.wqq += static_cast<float>(static_cast<int32_t>(wqq));
  }
  sums.loss *= unit_of(norm, p.scale);
  if (!grid.fits()) sums.loss = std::numeric_limits<float>::infinity();
  return sums;
}

// p moved toward the weighted least squares fit for its codes.
template <int kBits>
Params refined(const FitSums& sums, float relaxation, const Params& p) {
  const float relaxed = p.scale * relaxation;
  const float unit = static_cast<float>(1 << (15 - kFixed<kBits>.distance_bits));
  const float wdq = static_cast<float>(sums.wdq) * unit;
  float scale = 0, offset = p.offset;
  if constexpr (kBits == 8) {
    scale = p.scale + relaxed * (wdq / sums.wqq);
  } else {
    const float w = static_cast<float>(sums.w), wq = static_cast<float>(sums.wq);
    const float wd = static_cast<float>(sums.wd) * unit;
    const float squares = sums.wqq * w;
    const float determinant = squares - wq * wq;
    if (!(determinant > squares * kSingular)) return p;
    const float a = (wdq * w - wq * wd) / determinant;
    const float b = (sums.wqq * wd - wq * wdq) / determinant;
    const float growth = a + a;
    scale = p.scale + relaxed * growth;
    offset = p.offset + relaxed * (b - growth * kFixed<kBits>.middle);
  }
  if (!(scale > 0) || offset != offset) return p;
  return {round_scale(scale), round_offset(offset)};
}

template <int kBits>
Params grid_around(float center, float half_width) {
  return {round_scale(half_width * (2.0f / highest_code(kBits))),
          round_offset(center - half_width)};
}

template <int kBits>
Params shrunk(const FixedGroup& group, float part) {
  return grid_around<kBits>(group.center, (group.hi - group.lo) * 0.5f * part);
}

struct Moments {
  float mean, deviation;
};
inline Moments moments_of(const FixedGroup& group) {
  int sum = 0;
  float squares = 0;  // of halves
  for (size_t first = 0; first < group.weights.size(); first += kBlock) {
    int part = 0;
    for (const int weight : block_of(group.weights, first)) {
      const int half = weight >> 1;
      sum += weight;
      part += half * half;
    }
    squares += static_cast<float>(part);
  }
  const float inverse_n = 1.0f / static_cast<float>(group.weights.size());
  const float unit = group.radius * (1.0f / 32767.0f);
  const float mean = static_cast<float>(sum) * inverse_n;
  const float variance = squares * (inverse_n * 4.0f) - mean * mean;
  return {group.center + mean * unit, std::sqrt(std::max(variance, 0.0f)) * unit};
}

// Grids narrower than the range (kShrinks) and around the mean (kDeviations), and the range's.
template <int kBits>
std::vector<Params> starts(const FixedGroup& group) {
  using Plan = SearchPlan<kBits>;
  std::vector<Params> all = {params_from_range(kBits, group.lo, group.hi)};
  if constexpr (kBits != 8) {
    for (const float f : Plan::kShrinks) all.push_back(shrunk<kBits>(group, f));
    const auto [mean, deviation] = moments_of(group);
    for (const float c : Plan::kDeviations) all.push_back(grid_around<kBits>(mean, deviation * c));
  }
  return all;
}

// The half range to go on with, in parts of the range's: where a parabola through three losses is
// least.
template <int kBits>
float vertex(std::span<const float> losses) {
  using Plan = SearchPlan<kBits>;
  const float curvature = (losses[0] + losses[2]) - (losses[1] + losses[1]);
  const float slope = (losses[2] - losses[0]) * 0.5f;
  if (!(curvature > 0) || std::isinf(curvature)) return Plan::kShrinks[0];
  const float steps = std::min(std::max(slope / curvature, -1.0f), 1.0f);
  return Plan::kShrinks[0] + steps * (Plan::kShrinks[0] - Plan::kShrinks[1]);
}

template <int kBits>
Params search(ErrorNorm norm, std::span<const float> x, float lo, float hi) {
  using Plan = SearchPlan<kBits>;
  const FixedGroup group = fixed_group(kBits, x, lo, hi);
  const std::vector<Params> candidates = starts<kBits>(group);
  if (!(group.radius > kLeastRadius)) return candidates[0];
  Params best = candidates[0];
  float best_loss = std::numeric_limits<float>::infinity();
  const auto keep = [&](const Params& p, float loss) {
    if (loss < best_loss) {
      best = p;
      best_loss = loss;
    }
  };
  std::vector<float> losses;
  for (const Params& p : candidates) {
    losses.push_back(fit_sums<kBits>(norm, group, p).loss);
    keep(p, losses.back());
  }
  Params p = best;
  if constexpr (kBits == 4) p = shrunk<4>(group, vertex<4>(losses));
  for (int round = 0; round < Plan::kRounds; ++round) {
    const FitSums sums = fit_sums<kBits>(norm, group, p);
    keep(p, sums.loss);
    p = refined<kBits>(sums, Plan::kRelaxation, p);
  }
  keep(p, fit_sums<kBits>(norm, group, p).loss);
  return best_loss < losses[0] * (1.0f - kLeastGain) ? best : candidates[0];
}

}  // namespace arrow_quant::kernels::reference
