#include "arrow_quant/quant/directions.h"

#include <cmath>

#include "arrow_quant/kernels/panels.h"

namespace arrow_quant {
namespace {

constexpr size_t kVector = 16;  // directions are followed in multiples of this

}  // namespace

size_t padded_width(size_t count) {
  return (count + kVector - 1) / kVector * kVector;
}

float normalizing(double largest) {
  return static_cast<float>(std::ldexp(1.0, -std::ilogb(largest)));
}

double dot(const float* x, const float* y, size_t count) {
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (size_t k = 0; k < 8; ++k) sums[k] += static_cast<double>(x[i + k]) * y[i + k];
  }
  for (size_t k = 0; i < count; ++i, ++k) sums[k] += static_cast<double>(x[i]) * y[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void add_product(const float* a, size_t count, const Directions& d, float* out) {
  kernels::multiply_add({.a = a,
                         .a_row_stride = d.rows,
                         .a_col_stride = 1,
                         .b = d.x.data(),
                         .b_stride = d.width,
                         .c = out,
                         .c_stride = d.width,
                         .rows = count,
                         .depth = d.rows,
                         .cols = d.width});
}

std::vector<float> transposed(const Directions& d) {
  std::vector<float> columns(d.x.size());
  for (size_t r = 0; r < d.rows; ++r) {
    for (size_t i = 0; i < d.width; ++i) columns[i * d.rows + r] = d.x[r * d.width + i];
  }
  return columns;
}

std::vector<double> products(const Directions& x, const Directions& y) {
  const std::vector<float> a = transposed(x), b = transposed(y);
  std::vector<double> result;
  for (size_t i = 0; i < x.width; ++i) {
    for (size_t j = 0; j < y.width; ++j) {
      result.push_back(dot(a.data() + i * x.rows, b.data() + j * y.rows, x.rows));
    }
  }
  return result;
}

}  // namespace arrow_quant
