// The kernels as plain loops over one group or row: the definition of correct. Every operation is
// one of integers, or of floats rounded to nearest even in the order written here, and the vector
// loops give the same bytes on every instruction set. For tests; too slow for anything else.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/core/float16.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/reference_search.h"

namespace arrow_quant::kernels::reference {

// The code nearest to x.
inline float nearest_code(int bits, float x, const Params& p) {
  const float inverse = 1.0f / p.scale;
  const float t = (bits == 8 ? x : x - p.offset) * inverse;
  return std::nearbyint(std::min(std::max(t, lowest_code(bits)), highest_code(bits)));
}

inline Params params_of(std::span<const float> x, const Coding& coding) {
  const auto [lo_at, hi_at] = std::minmax_element(x.begin(), x.end());
  const float lo = *lo_at + 0.0f, hi = *hi_at + 0.0f;
  if (!coding.search) return params_from_range(coding.bits, lo, hi);
  if (coding.bits == 2) return search<2>(coding.norm, x, lo, hi);
  if (coding.bits == 4) return search<4>(coding.norm, x, lo, hi);
  return search<8>(coding.norm, x, lo, hi);
}

// Sixteen partial values in the order of fold16, then of the four that it leaves.
inline float fold(const std::array<float, 16>& p, bool maximum) {
  const auto join = [&](float a, float b) { return maximum ? std::max(a, b) : a + b; };
  std::array<float, 4> q;
  for (size_t j = 0; j < 4; ++j) q[j] = join(join(p[j], p[j + 8]), join(p[j + 4], p[j + 12]));
  return join(join(q[0], q[1]), join(q[2], q[3]));
}

// Error sums of the groups of a run, taken in order.
class RunMeasure {
 public:
  // i: index in the group; neighbours share a part.
  void add(size_t i, float x, float error) {
    const size_t part = i % 32 / 2;
    original_sq_[part] += x * x;
    original_error_[part] += x * error;
    error_sq_[part] += error * error;
    max_error_sq_[part] = std::max(max_error_sq_[part], error * error);
  }
  RunSums sums() const {
    return {fold(original_sq_, false), fold(original_error_, false), fold(error_sq_, false),
            std::sqrt(fold(max_error_sq_, true))};
  }

 private:
  std::array<float, 16> original_sq_{}, original_error_{}, error_sq_{}, max_error_sq_{};
};

struct QuantizedGroup {
  uint16_t scale = 0;
  uint16_t offset = 0;
  std::vector<uint8_t> codes;  // one a byte, two's complement
};

inline QuantizedGroup quantize_group(std::span<const float> x, const Coding& coding,
                                     RunMeasure& measure) {
  const Params p = params_of(x, coding);
  QuantizedGroup group{float_to_half(p.scale), float_to_half(p.offset), {}};
  for (size_t i = 0; i < x.size(); ++i) {
    const float code = nearest_code(coding.bits, x[i], p);
    group.codes.push_back(static_cast<uint8_t>(static_cast<int>(code)));
    float restored = p.scale * code;
    if (coding.bits != 8) restored = restored + p.offset;
    measure.add(i, x[i], x[i] - restored);
  }
  return group;
}

inline void pack_codes(std::span<const uint8_t> codes, int bits, uint8_t* packed) {
  const size_t per_byte = 8 / static_cast<size_t>(bits);
  std::fill_n(packed, (codes.size() + per_byte - 1) / per_byte, uint8_t{0});
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t shift = i % per_byte * static_cast<size_t>(bits);
    packed[i / per_byte] = static_cast<uint8_t>(packed[i / per_byte] | (codes[i] << shift));
  }
}

inline int code_at(const uint8_t* packed, size_t i, int bits) {
  if (bits == 8) return static_cast<int8_t>(packed[i]);
  const size_t per_byte = 8 / static_cast<size_t>(bits);
  return (packed[i / per_byte] >> (i % per_byte * static_cast<size_t>(bits))) & ((1 << bits) - 1);
}

inline void dequantize_row(const CodedRow& row, float* out) {
  for (size_t i = 0; i < row.cols; ++i) {
    const size_t group = i / row.group_size;
    float y =
        half_to_float(row.scales[group]) * static_cast<float>(code_at(row.codes, i, row.bits));
    if (row.bits != 8) y = y + half_to_float(row.offsets[group]);
    out[i] = row.tensor_scale * y;
  }
}

inline void dequantize_row(const ZeroPointRow& row, float* out) {
  for (size_t i = 0; i < row.cols; ++i) {
    const size_t group = i / row.group_size;
    const float zero_point = row.zero_points == nullptr ? 0.0f : row.zero_points[group];
    const float steps = static_cast<float>(code_at(row.codes, i, row.bits)) - zero_point;
    out[i] = row.scales[group] * steps;
  }
}

// A float of `exponent` and `mantissa` bits below its sign; see FORMAT of the 8-bit types: E4M3
// has no infinity and NaN only where all bits are set.
inline float widen_small(unsigned code, int exponent, int mantissa, bool infinity) {
  const int bias = (1 << (exponent - 1)) - 1;
  const int e = static_cast<int>(code >> mantissa) & ((1 << exponent) - 1);
  const int m = static_cast<int>(code) & ((1 << mantissa) - 1);
  const float sign = (code >> (exponent + mantissa)) & 1u ? -1.0f : 1.0f;
  const bool top = e == (1 << exponent) - 1;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (infinity && top) return m != 0 ? nan : sign * std::numeric_limits<float>::infinity();
  if (!infinity && top && m == (1 << mantissa) - 1) return nan;
  if (e == 0) return sign * std::ldexp(static_cast<float>(m), 1 - bias - mantissa);
  return sign * std::ldexp(static_cast<float>(m + (1 << mantissa)), e - bias - mantissa);
}

template <class T>
T element(const void* data, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const uint8_t*>(data) + i * sizeof(T), sizeof(T));
  return value;
}

inline float widen(const void* data, DType dtype, size_t i) {
  switch (dtype) {
    case DType::F64:
      return static_cast<float>(element<double>(data, i));
    case DType::F16:
      return widen_small(element<uint16_t>(data, i), 5, 10, true);
    case DType::BF16: {
      const uint32_t bits = static_cast<uint32_t>(element<uint16_t>(data, i)) << 16;
      return element<float>(&bits, 0);
    }
    case DType::F8_E4M3:
      return widen_small(element<uint8_t>(data, i), 4, 3, false);
    case DType::F8_E5M2:
      return widen_small(element<uint8_t>(data, i), 5, 2, true);
    default:
      return element<float>(data, i);
  }
}

inline uint16_t narrow_to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

inline double fold8(std::array<double, 8> p, bool maximum) {
  for (size_t half = 4; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) {
      p[j] = maximum ? std::max(p[j], p[j + half]) : p[j] + p[j + half];
    }
  }
  return p[0];
}

inline CompareSums compare(std::span<const float> x, std::span<const float> y) {
  std::array<double, 8> dot{}, xx{}, yy{}, ee{}, max{};
  for (size_t i = 0; i < x.size(); ++i) {
    const double a = x[i], b = y[i], e = a - b;
    dot[i % 8] += a * b;
    xx[i % 8] += a * a;
    yy[i % 8] += b * b;
    ee[i % 8] += e * e;
    max[i % 8] = std::max(max[i % 8], std::abs(e));
  }
  return {fold8(dot, false), fold8(xx, false), fold8(yy, false), fold8(ee, false),
          fold8(max, true)};
}

}  // namespace arrow_quant::kernels::reference
