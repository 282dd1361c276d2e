#include "arrow_quant/quant/zero_point.h"

#include <algorithm>

#include "arrow_quant/kernels/kernels.h"

namespace arrow_quant {

void to_zero_points(const uint16_t* scales, const uint16_t* offsets, size_t count,
                    float tensor_scale, float* out_scales, float* out_zero_points) {
  kernels::widen(scales, DType::F16, count, 1.0f, out_scales);
  if (offsets == nullptr) {
    std::fill_n(out_zero_points, count, 0.0f);
  } else {
    kernels::widen(offsets, DType::F16, count, 1.0f, out_zero_points);
    for (size_t i = 0; i < count; ++i) {
      // Subtracting from 0 makes no −0 of an offset of 0.
      out_zero_points[i] = (0.0f - out_zero_points[i]) / out_scales[i];
    }
  }
  if (tensor_scale != 1.0f) {
    for (size_t i = 0; i < count; ++i) out_scales[i] *= tensor_scale;
  }
}

void dequantize_rows(const ZeroPointView& view, const PartOfRows& part, float* out) {
  const size_t groups = groups_per_row(view.cols, view.group_size);
  const size_t row_bytes = packed_row_bytes(view.cols, view.bit_width);
  for (size_t r = 0; r < part.rows; ++r) {
    const size_t first_group = (part.row + r) * groups + part.col / view.group_size;
    kernels::ZeroPointRow row;
    row.codes =
        view.codes + (part.row + r) * row_bytes + packed_row_bytes(part.col, view.bit_width);
    row.scales = view.scales + first_group;
    row.zero_points = view.zero_points == nullptr ? nullptr : view.zero_points + first_group;
    row.cols = part.cols;
    row.group_size = view.group_size;
    row.bits = bits_of(view.bit_width);
    kernels::dequantize_row(row, out + r * part.cols);
  }
}

}  // namespace arrow_quant
