// The walk over a view in pieces that fit the cache, in a type that kernels take: a source that has
// it is used in place, others are widened into scratch memory. Internal to quant/.
#pragma once

#include <algorithm>
#include <cstdint>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

// Whole rows, or a piece of one row that starts at a multiple of kernels::kMaxGroupSize.
struct RowChunk {
  size_t row = 0;
  size_t col = 0;
  size_t rows = 0;
  size_t cols = 0;
  const void* x = nullptr;
  DType dtype = DType::F32;  // of x, which is aligned to its elements
  size_t stride = 0;         // elements from row to row
};

// What a visitor takes. Groups: what kernels::GroupTable does.
enum class ChunkTypes { Floats, Groups };

inline const uint8_t* element_address(const RowsView& view, size_t row, size_t col) {
  return static_cast<const uint8_t*>(view.data) +
         (row * view.cols + col) * (static_cast<size_t>(bits_of(view.dtype)) / 8);
}

inline const uint8_t* element_address(const RowChunk& chunk, size_t row, size_t col) {
  return static_cast<const uint8_t*>(chunk.x) +
         (row * chunk.stride + col) * (static_cast<size_t>(bits_of(chunk.dtype)) / 8);
}

inline bool is_in_place(const RowsView& view, ChunkTypes types) {
  const bool is_half = view.dtype == DType::BF16 || view.dtype == DType::F16;
  const bool taken = view.dtype == DType::F32 || (is_half && types == ChunkTypes::Groups);
  const auto element_bytes = static_cast<size_t>(bits_of(view.dtype)) / 8;
  return taken && reinterpret_cast<uintptr_t>(view.data) % element_bytes == 0;
}

inline void load_chunk(const RowsView& view, ChunkTypes types, float factor, Buffer& floats,
                       RowChunk& chunk) {
  const uint8_t* source = element_address(view, chunk.row, chunk.col);
  if (factor == 1.0f && is_in_place(view, types)) {
    chunk.x = source;
    chunk.dtype = view.dtype;
    chunk.stride = view.cols;
    return;
  }
  // A chunk is contiguous: it has one row or whole rows.
  const size_t count = chunk.rows * chunk.cols;
  floats.reserve(count * sizeof(float));
  float* x = floats.as<float>().data();
  kernels::widen(source, view.dtype, count, factor, x);
  chunk.x = x;
  chunk.stride = chunk.cols;
}

// Calls visit(chunk) for pieces of about `max_elements` (a multiple of kMaxGroupSize), in order,
// with every weight multiplied by `factor`.
template <class Visit>
void for_each_chunk(const RowsView& view, ChunkTypes types, size_t max_elements, float factor,
                    Buffer& floats, Visit visit) {
  if (view.cols == 0) return;
  const size_t chunk_rows = std::max<size_t>(1, max_elements / view.cols);
  const size_t chunk_cols = std::min(view.cols, max_elements);
  for (size_t row = 0; row < view.rows; row += chunk_rows) {
    for (size_t col = 0; col < view.cols; col += chunk_cols) {
      RowChunk chunk;
      chunk.row = row;
      chunk.col = col;
      chunk.rows = std::min(chunk_rows, view.rows - row);
      chunk.cols = std::min(chunk_cols, view.cols - col);
      load_chunk(view, types, factor, floats, chunk);
      visit(chunk);
    }
  }
}

}  // namespace arrow_quant
