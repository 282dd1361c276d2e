// Parameters as the batch interface gives them: a float32 scale and zero point per group.
//   w ≈ scale · (code − zero_point)
// The scale takes in the tensor's; zero_point = −offset / scale is a real number, 0 for 8 bits.
// This is not how files hold them (see quantize.h), and differs from that by roundings of float32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {

// Parameters of `count` groups, fp16 as quantize_rows wrote them. offsets: null for 8 bits.
void to_zero_points(const uint16_t* scales, const uint16_t* offsets, size_t count,
                    float tensor_scale, float* out_scales, float* out_zero_points);

// Rows of packed codes and their parameters, contiguous, row by row.
struct ZeroPointView {
  const uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const float* zero_points = nullptr;  // null: all are 0
  size_t rows = 0;
  size_t cols = 0;
  BitWidth bit_width = BitWidth::Int4;
  size_t group_size = 128;  // 32, 64, 128 or 256
};

// Whole rows of a view, or a part of one row that starts at a multiple of 256.
struct PartOfRows {
  size_t row = 0;
  size_t col = 0;
  size_t rows = 0;
  size_t cols = 0;
};

// Writes the part's weights at `out`, contiguous.
void dequantize_rows(const ZeroPointView& view, const PartOfRows& part, float* out);

}  // namespace arrow_quant
