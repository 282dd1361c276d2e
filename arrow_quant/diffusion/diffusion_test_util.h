// Values and sketches of weights that tests share. Sums of random bits, not the distributions of a
// standard library, so that they are the same with every one.
#pragma once

#include <cstddef>
#include <random>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/weight_sketch.h"

namespace arrow_quant {

using Floats = std::vector<float>;

// Evenly spread over [least, least + 2).
inline Floats uniform_values(size_t count, unsigned seed, double least = -1) {
  std::mt19937 random(seed);
  Floats values(count);
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(random()) / 2147483648.0 + least);
  }
  return values;
}

// Bell-shaped, of a standard deviation.
inline Floats bell_values(size_t count, unsigned seed, double spread = 1) {
  std::mt19937 random(seed);
  Floats values(count);
  for (float& value : values) {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) / 4294967296.0;
    value = static_cast<float>(spread * (sum - 6));
  }
  return values;
}

// Of weights [n, cols].
inline WeightSketch sketch_of_rows(std::span<const float> weights, size_t cols) {
  WeightSketch sketch(cols);
  for (size_t row = 0; row * cols < weights.size(); ++row) {
    sketch.add_row(row, weights.subspan(row * cols, cols));
  }
  return sketch;
}

// Of 60 rows of any weights.
inline WeightSketch any_sketch(size_t cols) {
  return sketch_of_rows(uniform_values(60 * cols, 1000), cols);
}

// Of rows [n, cols]: Σ ‖x·Sᵀ‖².
inline double output_energy(std::span<const float> rows, const WeightSketch& sketch) {
  double sum = 0;
  for (size_t begin = 0; begin < rows.size(); begin += sketch.cols()) {
    sum += sketch.energy(rows.subspan(begin, sketch.cols()));
  }
  return sum;
}

// Of values that stand for rows [n, cols]: Σ ‖(values − x)·Sᵀ‖².
inline double output_error(std::span<const float> rows, std::span<const float> values,
                           const WeightSketch& sketch) {
  Floats errors(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) errors[i] = values[i] - rows[i];
  return output_energy(errors, sketch);
}

}  // namespace arrow_quant
