// Chunk: the piece of a tensor that one thread processes at once. How a tensor is cut is part of
// its result, since sums over chunks are added up in their order: it depends on shape and type
// alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

// Whole rows, or a part of one very long row.
struct Chunk {
  size_t block = 0;
  int64_t row_start = 0;  // in the tensor
  int64_t row_count = 0;
  int64_t col_start = 0;
  int64_t col_count = 0;
  uint64_t source_offset = 0;  // within the tensor's bytes
  uint64_t source_bytes = 0;
};

// Bytes of a row in the source; 0 if a row is no whole number of bytes.
uint64_t source_row_bytes(const PlannedTensor& tensor);

// The most source bytes that a chunk of the tensor has.
uint64_t largest_chunk_bytes(const PlannedTensor& tensor);

// The chunks of all blocks, in the order of the elements. Their rows are a multiple of
// `row_multiple`, or the rest of a block.
std::vector<Chunk> cut_into_chunks(const PlannedTensor& tensor, std::span<const BlockRange> blocks,
                                   int64_t row_multiple = 1);

}  // namespace arrow_quant
