#include "arrow_quant/quant/low_rank.h"

#include <algorithm>
#include <cmath>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/quant/linear_algebra.h"

namespace arrow_quant {
namespace {

using kernels::kPanelRows;

constexpr size_t kLargestRank = 64;
constexpr size_t kWeightsPerBit = 48;  // 16 bits a value, a third of a bit per weight
constexpr size_t kOversampling = 8;
constexpr int kIterations = 2;
constexpr double kNegligible = 1e-9;  // of the largest eigenvalue: rounding alone

// E, scaled by a power of two so that its largest value is between 1 and 2.
class ScaledError {
 public:
  ScaledError(std::span<const float> error, size_t rows)
      : error_(error), rows_(rows), cols_(error.size() / rows) {
    float largest = 0;
    for (const float value : error) largest = std::max(largest, std::abs(value));
    empty_ = largest == 0;
    if (!empty_) factor_ = normalizing(largest);
  }

  bool empty() const { return empty_; }
  double factor() const { return factor_; }

  // E · d.
  Directions times(const Directions& d, const CancelToken* cancel) const {
    Directions result(rows_, d.width);
    for (size_t row = 0; row < rows_; row += kPanelRows) {
      check_cancelled(cancel);
      add_product(error_.data() + row * cols_, std::min(kPanelRows, rows_ - row), d,
                  result.x.data() + row * d.width);
    }
    scale(result);
    return result;
  }

  // Eᵀ · d.
  Directions transposed_times(const Directions& d, const CancelToken* cancel) const {
    Directions result(cols_, d.width);
    for (size_t row = 0; row < rows_; row += kPanelRows) {
      check_cancelled(cancel);
      kernels::multiply_add({.a = error_.data() + row * cols_,
                             .a_row_stride = 1,
                             .a_col_stride = cols_,
                             .b = d.x.data() + row * d.width,
                             .b_stride = d.width,
                             .c = result.x.data(),
                             .c_stride = d.width,
                             .rows = cols_,
                             .depth = std::min(kPanelRows, rows_ - row),
                             .cols = d.width});
    }
    scale(result);
    return result;
  }

 private:
  void scale(Directions& d) const {
    for (float& value : d.x) value *= factor_;
  }

  std::span<const float> error_;
  size_t rows_, cols_;
  float factor_ = 1;
  bool empty_ = true;
};

// +1 and −1 at random: the top bits of splitmix64 (Steele et al. 2014).
Directions random_signs(size_t rows, size_t width) {
  Directions d(rows, width);
  uint64_t state = 0;
  for (float& value : d.x) {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    value = ((z ^ (z >> 31)) >> 63) != 0 ? -1.0f : 1.0f;
  }
  return d;
}

// V = Pᵀ · E for the `rank` directions that carry most, [cols, padded_width(rank)]; those beyond
// are 0.
struct Basis {
  size_t rank = 0;
  Directions v;
};

Basis strongest(const ScaledError& error, const DampedSquares& squares, size_t cols, size_t rank,
                const CancelToken* cancel) {
  Directions d = random_signs(cols, padded_width(rank + kOversampling));
  for (int i = 0; i <= kIterations; ++i) {
    Directions q = error.times(squares.times(d, cancel), cancel);
    orthonormalize(q);
    d = error.transposed_times(q, cancel);
  }
  // Of E·H·Eᵀ in the subspace; its eigenvectors turn the axes into singular vectors.
  const SymmetricEigen eigen = symmetric_eigen(products(d, squares.times(d, cancel)), d.width);
  Basis basis{0, Directions(cols, padded_width(rank))};
  while (basis.rank < std::min(rank, d.width) &&
         eigen.values[basis.rank] > kNegligible * eigen.values[0]) {
    ++basis.rank;
  }
  for (size_t c = 0; c < cols; ++c) {
    for (size_t j = 0; j < basis.rank; ++j) {
      double sum = 0;
      for (size_t k = 0; k < d.width; ++k) {
        sum += eigen.vectors[j * d.width + k] * d.x[c * d.width + k];
      }
      basis.v.x[c * basis.v.width + j] = static_cast<float>(sum);
    }
  }
  return basis;
}

// Rounds V, whose rows get about the length that their columns of U will have, by powers of two.
void round_balanced(const Basis& basis, const ScaledError& error, Directions& v) {
  const std::vector<float> columns = transposed(v);
  for (size_t j = 0; j < basis.rank; ++j) {
    const float* column = columns.data() + j * v.rows;
    const double length = std::sqrt(dot(column, column, v.rows)) / error.factor();  // U's is 1
    const auto factor =
        static_cast<float>(std::ldexp(1.0 / error.factor(), -(std::ilogb(length) / 2)));
    for (size_t c = 0; c < v.rows; ++c) v.x[c * v.width + j] *= factor;
  }
  std::vector<uint16_t> rounded(v.x.size());
  kernels::narrow(v.x.data(), v.x.size(), DType::BF16, rounded.data());
  kernels::widen(rounded.data(), DType::BF16, v.x.size(), 1.0f, v.x.data());
}

// The first `width` of each row's directions, in bf16; `transpose`: [width, rows].
std::vector<uint16_t> stored(const Directions& d, size_t width, bool transpose) {
  std::vector<float> values;
  const std::vector<float> columns = transposed(d);
  for (size_t i = 0; i < (transpose ? width : d.rows); ++i) {
    const float* from = transpose ? columns.data() + i * d.rows : d.x.data() + i * d.width;
    values.insert(values.end(), from, from + (transpose ? d.rows : width));
  }
  std::vector<uint16_t> result(values.size());
  kernels::narrow(values.data(), values.size(), DType::BF16, result.data());
  return result;
}

}  // namespace

size_t usual_rank(size_t rows, size_t cols) {
  return std::min(kLargestRank, rows * cols / (kWeightsPerBit * (rows + cols)));
}

size_t fitting_bytes(size_t rows, size_t cols, size_t rank) {
  const size_t width = padded_width(rank + kOversampling);
  return sizeof(float) * (kPanelRows * cols + 6 * std::max(rows, cols) * width);
}

LowRank fit_low_rank(std::span<const float> error, size_t rows, const InputSquares& squares,
                     size_t rank, const CancelToken* cancel) {
  const ScaledError e(error, rows);
  const size_t cols = error.size() / rows;
  const DampedSquares h(squares, cols);
  if (e.empty() || h.empty()) return {};
  Basis basis = strongest(e, h, cols, rank, cancel);
  round_balanced(basis, e, basis.v);
  // U = E·H·Vᵀ · (V·H·Vᵀ)⁻¹.
  const Directions hv = h.times(basis.v, cancel);
  Directions u = e.times(hv, cancel);
  divide_by(u, products(basis.v, hv));
  for (float& value : u.x) value = static_cast<float>(value / e.factor());
  return {basis.rank, stored(u, basis.rank, false), stored(basis.v, basis.rank, true)};
}

std::vector<float> freed_squares(const InputSquares& squares, size_t cols, std::span<const float> v,
                                 const CancelToken* cancel) {
  const DampedSquares h(squares, cols);
  const size_t rank = v.size() / cols;
  Directions basis(cols, padded_width(rank));
  for (size_t c = 0; c < cols; ++c) {
    for (size_t k = 0; k < rank; ++k) basis.x[c * basis.width + k] = v[k * cols + c];
  }
  const Directions hv = h.times(basis, cancel);
  Directions shares = hv;
  divide_by(shares, products(basis, hv));
  for (float& value : shares.x) value = -value;
  const std::vector<float> transposed_hv = transposed(hv);
  std::vector<float> rows(kPanelRows * cols), freed;
  freed.reserve(cols * (cols + 1) / 2);
  for (size_t row = 0; row < cols; row += kPanelRows) {
    check_cancelled(cancel);
    const size_t count = std::min(kPanelRows, cols - row);
    h.load_rows(row, count, rows.data());
    kernels::multiply_add({.a = shares.x.data() + row * shares.width,
                           .a_row_stride = shares.width,
                           .a_col_stride = 1,
                           .b = transposed_hv.data(),
                           .b_stride = cols,
                           .c = rows.data(),
                           .c_stride = cols,
                           .rows = count,
                           .depth = shares.width,
                           .cols = cols});
    for (size_t i = 0; i < count; ++i) {
      const float* from = rows.data() + i * cols;
      freed.insert(freed.end(), from + row + i, from + cols);
    }
  }
  return freed;
}

}  // namespace arrow_quant
