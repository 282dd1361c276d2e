// The factor that successive rounding needs: L with L·Lᵀ = XᵀX + damping, lower triangular, for the
// inputs X of a layer with its columns in the order of their power. The columns that carry most
// are quantized first, while all others can still make up for them (Frantar et al. 2022,
// arXiv:2210.17323, "act-order").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/cancel.h"

namespace arrow_quant {

struct SweepFactor {
  size_t cols = 0;
  std::vector<uint32_t> order;  // the column at each place; the last place is quantized first
  Buffer l;                     // float32 [cols, cols], row-major; above the diagonal unspecified
  std::vector<float> inverse_diagonal;  // of l

  static size_t bytes_needed(size_t cols) { return cols * cols * sizeof(float); }
};

// xtx: Σ xᵀx, the upper triangle with the diagonal, row by row, cols · (cols + 1) / 2 values. A
// hundredth of the mean of its diagonal is added to it, ten times as much wherever that does not
// make it positive definite, up to the mean. None if that is not enough, or if all inputs are 0.
// Cost: cols³ / 3 multiplications. The same bytes on every instruction set.
std::optional<SweepFactor> factorize(std::span<const float> xtx, size_t cols,
                                     const CancelToken* cancel = nullptr);

}  // namespace arrow_quant
