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
#include "arrow_quant/quant/input_squares.h"

namespace arrow_quant {

// E ≈ U · V, both in bf16 as they are stored.
struct LowRank {
  size_t rank = 0;          // 0: nothing to correct
  std::vector<uint16_t> u;  // [rows, rank]
  std::vector<uint16_t> v;  // [rank, cols]
};

// Some consecutive rows of E's correction. rank 0: none.
struct LowRankView {
  size_t rank = 0;
  const uint16_t* u = nullptr;  // of the first row on
  const uint16_t* v = nullptr;
};

inline LowRankView view_from_row(const LowRank& low_rank, size_t row) {
  return {low_rank.rank, low_rank.u.data() + row * low_rank.rank, low_rank.v.data()};
}

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

// What errors cost where U·V may still take away any of them that lie in the rows of V, whatever U:
// H − H·Vᵀ·(V·H·Vᵀ)⁻¹·V·H for damped squares H, up to a power of two, the upper triangle with the
// diagonal, row by row. Codes that make up for each other's errors by it leave to the low rank what
// it does best. v: [rank, cols], in the inputs' frame. Cost: 2 · cols² · rank multiplications. Pre:
// not all squares are 0. Throws: Error(Cancelled).
std::vector<float> freed_squares(const InputSquares& squares, size_t cols, std::span<const float> v,
                                 const CancelToken* cancel = nullptr);

// Of fit_low_rank(), beside the error and the squares.
size_t fitting_bytes(size_t rows, size_t cols, size_t rank);

}  // namespace arrow_quant
