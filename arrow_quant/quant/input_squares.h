// XᵀX of a layer's inputs, multiplied without being written out.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/quant/directions.h"

namespace arrow_quant {

// What a layer's inputs x / s add up to.
struct InputSquares {
  // Σ xᵀx before the division: the upper triangle with the diagonal, row by row.
  std::span<const float> xtx;
  std::span<const float> input_scale;  // s [cols], > 0; empty: 1
};

// H = XᵀX + a hundredth of the mean of its diagonal, as factorize() damps it, times a power of two
// that brings that mean to about 1. `squares` must outlive it.
class DampedSquares {
 public:
  DampedSquares(const InputSquares& squares, size_t cols);

  bool empty() const { return !(trace_ > 0); }  // all inputs are 0
  // Rows first … first + count of H, [count, cols].
  void load_rows(size_t first, size_t count, float* rows) const;
  // H · d. Cost: cols² · width multiplications. Throws: Error(Cancelled).
  Directions times(const Directions& d, const CancelToken* cancel) const;

 private:
  size_t start_of(size_t row) const { return row * cols_ - row * (row - 1) / 2; }

  std::span<const float> xtx_;
  std::vector<float> inverse_;  // 1 / s
  size_t cols_;
  double trace_ = 0;
  float factor_ = 1;
  float damping_ = 0;
};

}  // namespace arrow_quant
