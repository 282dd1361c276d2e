#include "arrow_quant/quant/input_squares.h"

#include <algorithm>

#include "arrow_quant/kernels/panels.h"

namespace arrow_quant {
namespace {

constexpr double kDamping = 0.01;  // of the mean of the diagonal

}  // namespace

DampedSquares::DampedSquares(const InputSquares& squares, size_t cols)
    : xtx_(squares.xtx), inverse_(cols, 1.0f), cols_(cols) {
  for (size_t c = 0; c < squares.input_scale.size(); ++c) {
    inverse_[c] = 1.0f / squares.input_scale[c];
  }
  for (size_t c = 0; c < cols; ++c) {
    trace_ += static_cast<double>(xtx_[start_of(c)]) * inverse_[c] * inverse_[c];
  }
  if (empty()) return;
  const double mean = trace_ / static_cast<double>(cols);
  factor_ = normalizing(mean);
  damping_ = static_cast<float>(kDamping * mean) * factor_;
}

void DampedSquares::load_rows(size_t first, size_t count, float* rows) const {
  for (size_t c = 0; c < first + count; ++c) {
    for (size_t i = c < first ? 0 : c - first; i < count; ++i) {
      const float value = xtx_[start_of(c) + (first + i - c)] * inverse_[c];
      rows[i * cols_ + c] = value * inverse_[first + i] * factor_;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const float* from = xtx_.data() + start_of(first + i) - (first + i);
    float* row = rows + i * cols_;
    for (size_t c = first + i; c < cols_; ++c) {
      row[c] = from[c] * inverse_[first + i] * inverse_[c] * factor_;
    }
    row[first + i] += damping_;
  }
}

Directions DampedSquares::times(const Directions& d, const CancelToken* cancel) const {
  Directions result(cols_, d.width);
  std::vector<float> rows(kernels::kPanelRows * cols_);
  for (size_t row = 0; row < cols_; row += kernels::kPanelRows) {
    check_cancelled(cancel);
    const size_t count = std::min(kernels::kPanelRows, cols_ - row);
    load_rows(row, count, rows.data());
    add_product(rows.data(), count, d, result.x.data() + row * d.width);
  }
  return result;
}

}  // namespace arrow_quant
