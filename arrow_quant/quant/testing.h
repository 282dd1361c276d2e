// Weights and round trips that the tests of this folder share.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "arrow_quant/quant/quantize.h"

namespace arrow_quant::testing {

inline std::vector<float> gaussian(size_t count, float sigma, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> x(count);
  for (float& v : x) v = normal(random);
  return x;
}

// Student's t with five degrees of freedom, times sigma.
inline std::vector<float> heavy_tailed(size_t count, float sigma, unsigned seed) {
  std::mt19937 random(seed);
  std::student_t_distribution<float> t(5.0f);
  std::vector<float> x(count);
  for (float& v : x) v = sigma * t(random);
  return x;
}

// Inputs whose columns differ in power and lean on each other: mixtures of a few directions.
inline std::vector<float> mixed_inputs(size_t rows, size_t cols, unsigned seed) {
  const size_t directions = cols / 2;
  const std::vector<float> mixing = gaussian(directions * cols, 1.0f, 99);
  const std::vector<float> sources = gaussian(rows * directions, 1.0f, seed);
  std::vector<float> x = gaussian(rows * cols, 0.1f, seed + 1);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t d = 0; d < directions; ++d) {
      const float source = sources[r * directions + d];
      for (size_t c = 0; c < cols; ++c) x[r * cols + c] += source * mixing[d * cols + c];
    }
    for (size_t c = 0; c < cols; ++c) x[r * cols + c] *= 0.2f + static_cast<float>(c % 7);
  }
  return x;
}

// Σ xᵀx: the upper triangle with the diagonal, row by row.
inline std::vector<float> gram_triangle(const std::vector<float>& x, size_t cols) {
  std::vector<float> xtx;
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = i; j < cols; ++j) {
      double sum = 0;
      for (size_t r = 0; r < x.size() / cols; ++r) {
        sum += static_cast<double>(x[r * cols + i]) * x[r * cols + j];
      }
      xtx.push_back(static_cast<float>(sum));
    }
  }
  return xtx;
}

// A weight's codes and parameters, what was measured while they were made, and how they restore.
struct Quantized {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales, offsets;
  CodesView view;
  ErrorStats error;
  RangeStats range;
  std::vector<float> restored;
};

inline RowsView rows_view(const std::vector<float>& x, size_t rows) {
  return {x.data(), DType::F32, rows, rows == 0 ? 0 : x.size() / rows};
}

// Room for the codes of `source`, one call of quantize_rows for all rows or for `rows_per_call`.
inline Quantized quantize(const RowsView& source, const QuantizeSpec& spec,
                          float tensor_scale = 1.0f, size_t rows_per_call = SIZE_MAX) {
  Quantized q;
  const size_t row_bytes = packed_row_bytes(source.cols, spec.bit_width);
  const size_t groups = groups_per_row(source.cols, spec.group_size);
  q.codes.resize(source.rows * row_bytes);
  q.scales.resize(source.rows * groups);
  q.offsets.resize(source.rows * groups);
  QuantizeScratch scratch;
  const size_t element_bytes = static_cast<size_t>(bits_of(source.dtype)) / 8;
  for (size_t row = 0; row < source.rows; row += std::min(rows_per_call, source.rows - row)) {
    RowsView part = source;
    part.data = static_cast<const uint8_t*>(source.data) + row * source.cols * element_bytes;
    part.rows = std::min(rows_per_call, source.rows - row);
    RangeStats range;
    quantize_rows(part, spec, tensor_scale,
                  {q.codes.data() + row * row_bytes, row_bytes, q.scales.data() + row * groups,
                   q.offsets.data() + row * groups, groups},
                  q.error, range, scratch);
    q.range.merge(range, row * source.cols);
  }
  q.view = {q.codes.data(), row_bytes,   q.scales.data(), q.offsets.data(), groups,
            source.rows,    source.cols, spec.bit_width,  spec.group_size,  tensor_scale};
  q.restored.resize(source.rows * source.cols);
  dequantize_rows(q.view, DType::F32, q.restored.data(), scratch);
  return q;
}

// Of restored against x, in double.
inline double measured_sqnr_db(const std::vector<float>& x, const std::vector<float>& restored) {
  double signal = 0, noise = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = static_cast<double>(x[i]) - restored[i];
    signal += static_cast<double>(x[i]) * x[i];
    noise += e * e;
  }
  return 10 * std::log10(signal / noise);
}

}  // namespace arrow_quant::testing
