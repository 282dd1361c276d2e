// What is done to a layer's input, and to its weight in return, so that their product stays the
// same: x ← (x / s) · H and W ← (W · diag(s)) · H, with H orthonormal (transforms.h). A reader
// undoes it on the weight, or applies it to the input when the layer runs.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace arrow_quant {

struct InputTransform {
  std::vector<float> input_scale;  // s [cols], finite and > 0; empty: none
  size_t hadamard_block = 0;       // a power of two that divides cols; 0: none

  bool identity() const { return input_scale.empty() && hadamard_block == 0; }
  bool operator==(const InputTransform&) const = default;
};

// Rows of inputs or of weights [rows, cols], in place.
void transform_inputs(const InputTransform& transform, float* x, size_t rows, size_t cols);
void transform_weights(const InputTransform& transform, float* w, size_t rows, size_t cols);

// Σ xᵀx of the transformed inputs from that of the original ones; both the upper triangle with the
// diagonal, row by row. Cost: cols² floats, 2 · cols² · log2(block) additions.
std::vector<float> transform_gram(const InputTransform& transform, std::span<const float> xtx,
                                  size_t cols);

// The largest power of two up to 256 that divides cols; 0 if that is below 32.
size_t usual_hadamard_block(size_t cols);

// Smoothing (Xiao et al. 2023, arXiv:2211.10438): s_j = xmax_j^alpha / wmax_j^(1 − alpha), divided
// by its geometric mean, kept within [1/64, 64] and rounded to a power of two, which is exact in
// every format. Columns where either is 0 get 1. alpha: 0 … 1.
std::vector<float> smoothing_scale(std::span<const float> input_abs_max,
                                   std::span<const float> weight_abs_max, double alpha);

}  // namespace arrow_quant
