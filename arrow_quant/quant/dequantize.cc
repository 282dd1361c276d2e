#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/quant/quantize.h"
#include "arrow_quant/quant/row_chunks.h"

namespace arrow_quant {
namespace {

// A multiple of every group size, small enough for the first-level cache.
constexpr size_t kChunk = 4096;

}  // namespace

void dequantize_rows(const CodesView& view, DType dtype, void* out, QuantizeScratch& scratch) {
  const auto bits = static_cast<size_t>(bits_of(view.bit_width));
  const size_t element_bytes = static_cast<size_t>(bits_of(dtype)) / 8;
  auto* bytes = static_cast<uint8_t*>(out);
  const bool in_place =
      dtype == DType::F32 && reinterpret_cast<uintptr_t>(out) % alignof(float) == 0;
  if (!in_place) scratch.floats.reserve(kChunk * sizeof(float));
  for (size_t r = 0; r < view.rows; ++r) {
    for (size_t col = 0; col < view.cols; col += kChunk) {
      const size_t group = r * view.params_stride + col / view.group_size;
      kernels::CodedRow row;
      row.codes = view.codes + r * view.codes_stride_bytes + col * bits / 8;
      row.scales = view.scales + group;
      row.offsets = view.bit_width == BitWidth::Int8 ? nullptr : view.offsets + group;
      row.cols = std::min(kChunk, view.cols - col);
      row.group_size = view.group_size;
      row.bits = static_cast<int>(bits);
      row.tensor_scale = view.tensor_scale;
      uint8_t* to = bytes + (r * view.cols + col) * element_bytes;
      if (in_place) {
        kernels::dequantize_row(row, reinterpret_cast<float*>(to));
      } else {
        float* floats = scratch.floats.as<float>().data();
        kernels::dequantize_row(row, floats);
        kernels::narrow(floats, row.cols, dtype, to);
      }
    }
  }
}

void compare_rows(const RowsView& source, const float* restored, ErrorStats& error,
                  QuantizeScratch& scratch) {
  const auto visit = [&](const RowChunk& chunk) {
    // Row by row, so that the sums do not depend on how rows are split into calls.
    const float* x = static_cast<const float*>(chunk.x);
    for (size_t r = 0; r < chunk.rows; ++r) {
      const size_t at = (chunk.row + r) * source.cols + chunk.col;
      const kernels::CompareSums sums =
          kernels::compare(x + r * chunk.stride, restored + at, chunk.cols);
      error.merge(
          {sums.dot, sums.original_sq, sums.restored_sq, sums.error_sq, sums.max_abs_error});
    }
  };
  for_each_chunk(source, ChunkTypes::Floats, kChunk, 1.0f, scratch.floats, visit);
}

}  // namespace arrow_quant
