// What the headers of blocks must agree in: the matrix that a tensor is seen as, and that the
// blocks of a tensor make it up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

// A tensor seen as [rows, cols] = [out, in·…]; one of shape [] or [n] as one row.
struct MatrixView {
  int64_t rows = 1;
  int64_t cols = 1;
};

// Nothing where a size is negative or the sizes leave 64 bits.
std::optional<MatrixView> matrix_view(const std::vector<int64_t>& shape);

// "[4, 64]"
std::string shape_text(const std::vector<int64_t>& shape);

// Checks that the blocks of each tensor agree and make it up, in whatever order they stand.
// Pre: matrix_view() knows their shapes. Throws: Error(Metadata); `file` is for the message.
void check_tensors_complete(const std::vector<BlockHeader>& blocks, const std::string& file);

}  // namespace arrow_quant
