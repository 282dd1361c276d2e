#include "arrow_quant/quant/input_transform.h"

#include <algorithm>
#include <cmath>

#include "arrow_quant/quant/transforms.h"

namespace arrow_quant {
namespace {

constexpr size_t kLargestBlock = 256;
constexpr size_t kSmallestBlock = 32;
constexpr double kLargestScale = 64;

void transpose(std::vector<float>& square, size_t n) {
  for (size_t r = 0; r < n; ++r) {
    for (size_t c = 0; c < r; ++c) std::swap(square[r * n + c], square[c * n + r]);
  }
}

}  // namespace

void transform_inputs(const InputTransform& transform, float* x, size_t rows, size_t cols) {
  if (!transform.input_scale.empty()) {
    divide_columns(x, rows, cols, transform.input_scale.data());
  }
  if (transform.hadamard_block != 0) hadamard_rows(x, rows, cols, transform.hadamard_block);
}

void transform_weights(const InputTransform& transform, float* w, size_t rows, size_t cols) {
  if (!transform.input_scale.empty()) {
    multiply_columns(w, rows, cols, transform.input_scale.data());
  }
  if (transform.hadamard_block != 0) hadamard_rows(w, rows, cols, transform.hadamard_block);
}

std::vector<float> transform_gram(const InputTransform& transform, std::span<const float> xtx,
                                  size_t cols) {
  std::vector<float> square(cols * cols);
  for (size_t r = 0, at = 0; r < cols; ++r) {
    for (size_t c = r; c < cols; ++c, ++at) square[r * cols + c] = square[c * cols + r] = xtx[at];
  }
  // T · XᵀX · Tᵀ: the rows, then, the matrix being symmetric again after both, the columns.
  transform_inputs(transform, square.data(), cols, cols);
  transpose(square, cols);
  transform_inputs(transform, square.data(), cols, cols);
  std::vector<float> result;
  result.reserve(xtx.size());
  for (size_t r = 0; r < cols; ++r) {
    for (size_t c = r; c < cols; ++c) result.push_back(square[r * cols + c]);
  }
  return result;
}

size_t usual_hadamard_block(size_t cols) {
  size_t block = 1;
  while (block < kLargestBlock && cols % (2 * block) == 0) block *= 2;
  return block < kSmallestBlock ? 0 : block;
}

std::vector<float> smoothing_scale(std::span<const float> input_abs_max,
                                   std::span<const float> weight_abs_max, double alpha) {
  const size_t cols = input_abs_max.size();
  std::vector<double> logarithms(cols);
  double sum = 0;
  size_t count = 0;
  for (size_t c = 0; c < cols; ++c) {
    if (!(input_abs_max[c] > 0) || !(weight_abs_max[c] > 0)) continue;
    logarithms[c] = alpha * std::log2(static_cast<double>(input_abs_max[c])) -
                    (1 - alpha) * std::log2(static_cast<double>(weight_abs_max[c]));
    sum += logarithms[c];
    ++count;
  }
  std::vector<float> scale(cols, 1.0f);
  for (size_t c = 0; c < cols; ++c) {
    if (!(input_abs_max[c] > 0) || !(weight_abs_max[c] > 0)) continue;
    const double exponent = std::round(logarithms[c] - sum / static_cast<double>(count));
    scale[c] = static_cast<float>(
        std::exp2(std::clamp(exponent, -std::log2(kLargestScale), std::log2(kLargestScale))));
  }
  return scale;
}

}  // namespace arrow_quant
