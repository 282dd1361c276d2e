// Error reconstruction: the part of rank r of a quantization error that matters most for a layer's
// outputs (QERA; Zhang et al. 2025, arXiv:2410.06040). For the error E = W − Ŵ and the inputs X of
// a layer it makes tr((E − U·V) · H · (E − U·V)ᵀ) least, H = XᵀX + damping: U·V = P·Pᵀ·E, where
// the columns of P are the first r left singular vectors of E·C, H = C·Cᵀ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arrow_quant/core/cancel.h"

namespace arrow_quant {

// E ≈ U · V, both in bf16 as they are stored.
struct LowRank {
  size_t rank = 0;          // 0: nothing to correct
  std::vector<uint16_t> u;  // [rows, rank]
  std::vector<uint16_t> v;  // [rank, cols]
};

// What a layer's inputs x / s add up to.
struct InputSquares {
  // Σ xᵀx before the division: the upper triangle with the diagonal, row by row.
  std::span<const float> xtx;
  std::span<const float> input_scale;  // s [cols], > 0; empty: 1
};

// The rank whose stored bytes, 2 · (rows + cols) for each, come to a third of a bit per weight at
// most: at least 1 if that fits, at most 64; 0: even one is too much.
size_t usual_rank(size_t rows, size_t cols);

// error: E [rows, cols], row-major, finite, of the weights that meet the inputs of `squares`. The
// rank of the result is at most `rank`; less where E has no more. Randomized subspace iteration on
// E·H·Eᵀ, from a fixed start (Halko et al. 2011, arXiv:0909.4061); V is rounded to bf16, U found by
// least squares for the rounded V. Cost: 8 · (rows + cols) · cols · (rank + 8) multiplications. The
// same bytes on every instruction set. Pre: rank ≤ 64. Throws: Error(Cancelled).
LowRank fit_low_rank(std::span<const float> error, size_t rows, const InputSquares& squares,
                     size_t rank, const CancelToken* cancel = nullptr);

// Of fit_low_rank(), beside the error and the squares.
size_t fitting_bytes(size_t rows, size_t cols, size_t rank);

}  // namespace arrow_quant
