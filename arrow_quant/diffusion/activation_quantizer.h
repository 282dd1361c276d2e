// Quantizing the inputs of layers, simulated: values in, the values that codes stand for out, in
// float32, as a runtime computes them. What is learned about a layer is learned on these values.
//
// bits is 1 … 8; N = 2^bits − 1 is the largest code. Values must be finite. Rounding is to the
// nearest integer, halves to even. Ranges always hold 0, which padding and masks need exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arrow_quant/diffusion/value_range.h"

namespace arrow_quant {

// Each row by itself, from its own extremes times clip (0 < clip ≤ 1):
//   lo = clip · min(row, 0), hi = clip · max(row, 0), scale = (hi − lo) / N
//   code = clamp(round((x − lo) / scale), 0, N), value = code · scale + lo
// A row without width becomes zeros. rows: [n, cols] row-major; out: the same size, may be rows.
void quantize_dynamic(std::span<const float> rows, size_t cols, float clip, int bits,
                      std::span<float> out);

// What it changes: out[i] = value − x.
void dynamic_errors(std::span<const float> rows, size_t cols, float clip, int bits,
                    std::span<float> out);

// One scale and zero point for a whole tensor:
//   code = clamp(round(x / scale) + zero_point, 0, N), value = scale · (code − zero_point)
struct StaticQuantizer {
  float scale = 1;         // > 0
  int32_t zero_point = 0;  // 0 … N

  bool operator==(const StaticQuantizer&) const = default;
};

// That which reaches over the range, widened to hold 0: scale = (hi − lo) / N, zero_point =
// round(−lo / scale). A range without width gets scale 1.
StaticQuantizer static_quantizer(const ValueRange& range, int bits);

// out: the size of values, may be values.
void quantize_static(std::span<const float> values, const StaticQuantizer& quantizer, int bits,
                     std::span<float> out);

// What it changes: out[i] = value − x.
void static_errors(std::span<const float> values, const StaticQuantizer& quantizer, int bits,
                   std::span<float> out);

}  // namespace arrow_quant
