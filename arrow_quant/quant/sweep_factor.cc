#include "arrow_quant/quant/sweep_factor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "arrow_quant/kernels/panels.h"

namespace arrow_quant {
namespace {

constexpr size_t kBlock = 64;
constexpr double kFirstDamping = 0.01;  // of the mean of the diagonal
constexpr double kLastDamping = 1.0;

size_t diagonal_index(size_t i, size_t cols) {
  return i * cols - i * (i - 1) / 2;  // also for i = 0, where the products wrap to 0
}

// Σ x_i x_j in the upper triangle.
float entry(std::span<const float> xtx, size_t cols, size_t i, size_t j) {
  const auto [low, high] = std::minmax(i, j);
  return xtx[diagonal_index(low, cols) + (high - low)];
}

// The columns from the weakest to the strongest; of equal ones the later comes first.
std::vector<uint32_t> by_power(std::span<const float> xtx, size_t cols) {
  std::vector<uint32_t> order(cols);
  std::iota(order.rbegin(), order.rend(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return xtx[diagonal_index(a, cols)] < xtx[diagonal_index(b, cols)];
  });
  return order;
}

// Cholesky's algorithm in blocks of columns, in place, on the lower triangle.
class Cholesky {
 public:
  Cholesky(float* a, size_t n) : a_(a), n_(n), panel_(kBlock * n * sizeof(float)) {}

  // False where a pivot is not positive.
  bool run(const CancelToken* cancel) {
    for (size_t start = 0; start < n_; start += kBlock) {
      check_cancelled(cancel);
      const size_t size = std::min(kBlock, n_ - start);
      if (!factor_block(start, size)) return false;
      for (size_t r = start + size; r < n_; ++r) solve_row(r, start, size);
      update_rest(start, size);
    }
    return true;
  }

 private:
  float& at(size_t row, size_t col) { return a_[row * n_ + col]; }

  bool factor_block(size_t start, size_t size) {
    for (size_t r = start; r < start + size; ++r) {
      solve_row(r, start, r - start);
      double pivot = at(r, r);
      for (size_t k = start; k < r; ++k) pivot -= static_cast<double>(at(r, k)) * at(r, k);
      if (!(pivot > 0)) return false;
      at(r, r) = static_cast<float>(std::sqrt(pivot));
    }
    return true;
  }

  // Entries start … start + size of row r, from those of the block's own rows.
  void solve_row(size_t r, size_t start, size_t size) {
    for (size_t c = start; c < start + size; ++c) {
      float sum = at(r, c);
      for (size_t k = start; k < c; ++k) sum -= at(r, k) * at(c, k);
      at(r, c) = sum / at(c, c);
    }
  }

  // Subtracts what the block explains of the triangle below and right of it.
  void update_rest(size_t start, size_t size) {
    const size_t rest = start + size;
    float* transposed = panel_.as<float>().data();
    const size_t stride = n_ - rest;
    for (size_t j = 0; j < stride; ++j) {
      for (size_t k = 0; k < size; ++k) transposed[k * stride + j] = -at(rest + j, start + k);
    }
    for (size_t r = rest; r < n_; r += kBlock) {
      const size_t rows = std::min(kBlock, n_ - r);
      kernels::multiply_add({.a = &at(r, start),
                             .a_row_stride = n_,
                             .a_col_stride = 1,
                             .b = transposed,
                             .b_stride = stride,
                             .c = &at(r, rest),
                             .c_stride = n_,
                             .rows = rows,
                             .depth = size,
                             .cols = r + rows - rest});
    }
  }

  float* a_;
  size_t n_;
  Buffer panel_;
};

void fill_lower_triangle(std::span<const float> xtx, const SweepFactor& factor, float added,
                         float* a) {
  for (size_t r = 0; r < factor.cols; ++r) {
    float* row = a + r * factor.cols;
    for (size_t c = 0; c <= r; ++c) {
      row[c] = entry(xtx, factor.cols, factor.order[r], factor.order[c]);
    }
    row[r] += added;
  }
}

}  // namespace

std::optional<SweepFactor> factorize(std::span<const float> xtx, size_t cols,
                                     const CancelToken* cancel) {
  double trace = 0;
  for (size_t i = 0; i < cols; ++i) trace += xtx[diagonal_index(i, cols)];
  if (!(trace > 0)) return std::nullopt;
  SweepFactor factor;
  factor.cols = cols;
  factor.order = by_power(xtx, cols);
  factor.l = Buffer(SweepFactor::bytes_needed(cols));
  float* l = factor.l.as<float>().data();
  const double mean = trace / static_cast<double>(cols);
  for (double damping = kFirstDamping; damping <= kLastDamping; damping *= 10) {
    fill_lower_triangle(xtx, factor, static_cast<float>(damping * mean), l);
    if (Cholesky(l, cols).run(cancel)) {
      for (size_t i = 0; i < cols; ++i) factor.inverse_diagonal.push_back(1.0f / l[i * cols + i]);
      return factor;
    }
  }
  return std::nullopt;
}

}  // namespace arrow_quant
