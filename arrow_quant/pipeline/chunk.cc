#include "arrow_quant/pipeline/chunk.h"

#include <algorithm>

namespace arrow_quant {
namespace {

constexpr uint64_t kChunkBytes = uint64_t{1} << 19;    // fits a core's cache with its results
constexpr uint64_t kLongRowBytes = uint64_t{4} << 20;  // longer rows are cut
constexpr int64_t kColumnStep = 256;                   // a multiple of every group size

}  // namespace

uint64_t source_row_bytes(const PlannedTensor& tensor) {
  const uint64_t bits =
      static_cast<uint64_t>(tensor.view.cols) * static_cast<uint64_t>(bits_of(tensor.info->dtype));
  return bits % 8 == 0 ? bits / 8 : 0;
}

uint64_t largest_chunk_bytes(const PlannedTensor& tensor) {
  const uint64_t row_bytes = source_row_bytes(tensor);
  if (row_bytes == 0) {
    return tensor.info->size_bytes;
  }
  const uint64_t rows_or_row =
      row_bytes <= kLongRowBytes ? std::max(kChunkBytes, row_bytes) : kChunkBytes;
  return std::min(tensor.info->size_bytes, rows_or_row);
}

std::vector<Chunk> cut_into_chunks(const PlannedTensor& tensor, std::span<const BlockRange> blocks,
                                   int64_t row_multiple) {
  std::vector<Chunk> chunks;
  const int64_t cols = tensor.view.cols;
  const uint64_t row_bytes = source_row_bytes(tensor);
  if (row_bytes == 0 || tensor.info->size_bytes == 0) {
    // No elements, or rows that end inside a byte: one piece.
    chunks.push_back({0, 0, tensor.view.rows, 0, cols, 0, tensor.info->size_bytes});
    return chunks;
  }
  const int64_t fitting_rows = static_cast<int64_t>(kChunkBytes / row_bytes);
  const int64_t rows_per_chunk = std::max<int64_t>(1, fitting_rows / row_multiple) * row_multiple;
  const uint64_t element_bytes = static_cast<uint64_t>(bits_of(tensor.info->dtype)) / 8;
  const int64_t cols_per_chunk =
      row_bytes <= kLongRowBytes || element_bytes == 0
          ? cols
          : static_cast<int64_t>(kChunkBytes / element_bytes) / kColumnStep * kColumnStep;
  for (size_t block = 0; block < blocks.size(); ++block) {
    const BlockRange range = blocks[block];
    const int64_t end = range.row_start + range.row_count;
    for (int64_t row = range.row_start; row < end; row += rows_per_chunk) {
      const int64_t rows = std::min(rows_per_chunk, end - row);
      for (int64_t col = 0; col < cols; col += cols_per_chunk) {
        const int64_t width = std::min(cols_per_chunk, cols - col);
        const uint64_t offset =
            static_cast<uint64_t>(row) * row_bytes + static_cast<uint64_t>(col) * element_bytes;
        const uint64_t bytes = width == cols ? static_cast<uint64_t>(rows) * row_bytes
                                             : static_cast<uint64_t>(width) * element_bytes;
        chunks.push_back({block, row, rows, col, width, offset, bytes});
      }
    }
  }
  return chunks;
}

}  // namespace arrow_quant
