#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {
namespace {

// Room below fp16's largest value for offsets that a search moves outward.
constexpr float kLargestUnscaled = 32768.0f;
// Half's smallest normal value, and the factor by which a search may shrink a scale.
constexpr float kSmallestUnscaled = 0x1p-14f * 3.0f;

}  // namespace

void RangeStats::merge(const RangeStats& next, size_t offset) {
  abs_max = std::max(abs_max, next.abs_max);
  min_scale = std::min(min_scale, next.min_scale);
  if (!non_finite && next.non_finite) {
    non_finite = NonFinite{next.non_finite->index + offset, next.non_finite->value};
  }
}

float choose_tensor_scale(const RangeStats& range) {
  if (range.abs_max == 0.0f) return 1.0f;
  if (range.abs_max <= kLargestUnscaled && range.min_scale >= kSmallestUnscaled) return 1.0f;
  // abs_max / 2^exponent lies in [16384, 32768). Both 2^exponent and its inverse are normal floats.
  const int exponent = std::clamp(std::ilogb(range.abs_max) - 14, -126, 126);
  return std::ldexp(1.0f, exponent);
}

}  // namespace arrow_quant
