// A few directions in a space of many dimensions, side by side, as subspace methods follow them.
// Internal to quant/.
#pragma once

#include <cstddef>
#include <vector>

namespace arrow_quant {

// [rows, width], row-major.
struct Directions {
  Directions(size_t row_count, size_t count) : rows(row_count), width(count), x(rows * width) {}
  size_t rows, width;
  std::vector<float> x;
};

// Whole vectors of directions: `count` and some more.
size_t padded_width(size_t count);

// Adds A · d to `out` [count, d.width], of count rows of a matrix A [count, d.rows].
void add_product(const float* a, size_t count, const Directions& d, float* out);

// [width, rows].
std::vector<float> transposed(const Directions& d);

// x · y in double, in eight partial sums by index.
double dot(const float* x, const float* y, size_t count);

// xᵢᵀ·yⱼ of two sets of directions in one space, [x.width, y.width].
std::vector<double> products(const Directions& x, const Directions& y);

// The power of two that brings `largest` > 0 into 1 … 2.
float normalizing(double largest);

}  // namespace arrow_quant
