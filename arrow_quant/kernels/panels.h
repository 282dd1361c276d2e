// Loops over panels: 64 rows of a weight, transposed, so that the rows lie side by side in the
// lanes of a vector and column c starts at c · kPanelRows. Like the other kernels these neither
// allocate nor fail, and every instruction set gives the same bytes: products and sums are rounded
// one by one, in the order that is written here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace arrow_quant::kernels {

inline constexpr size_t kPanelRows = 64;

// C[r, j] += Σ_k A[r, k] · B[k, j], k ascending, each product and sum rounded. C and B are
// row-major with strides in elements; A has a stride for each of its axes. C overlaps neither.
struct Multiplication {
  const float* a = nullptr;
  size_t a_row_stride = 0;
  size_t a_col_stride = 1;
  const float* b = nullptr;
  size_t b_stride = 0;
  float* c = nullptr;
  size_t c_stride = 0;
  size_t rows = 0;   // of A and C
  size_t depth = 0;  // columns of A, rows of B
  size_t cols = 0;   // of B and C
};
void multiply_add(const Multiplication& m);

// Writes rows · cols floats, row-major with row_stride, as a panel [cols][kPanelRows]; rows from
// `rows` on are 0.
void load_panel(const float* x, size_t row_stride, size_t rows, size_t cols, float* panel);

// A run of columns that are quantized one after the other, the last first, each passing its error
// on to those before it (the sweep of GPTQ, Frantar et al. 2022, arXiv:2210.17323, in the form of
// successive rounding against the factor L of L·Lᵀ = XᵀX):
//   target = w[c] + carried[c] · inverse_diagonal[c]
//   error[c] = w[c] − (scale · nearest code + offset),  carried[j] += error[c] · l[c, j] for j < c
// Without l nothing is passed on, and target = w[c].
struct Sweep {
  const float* w = nullptr;  // panel columns [cols][kPanelRows]
  float* carried = nullptr;  // likewise; taken in and added to
  float* error = nullptr;    // likewise; written
  uint8_t* codes = nullptr;  // likewise; written, the highest is 2^bits − 1
  const float* l = nullptr;  // row-major
  size_t l_stride = 0;
  const float* inverse_diagonal = nullptr;
  const uint32_t* group = nullptr;  // of each column
  const float* scales = nullptr;    // [groups][kPanelRows], > 0
  const float* offsets = nullptr;
  size_t cols = 0;
  int bits = 4;  // 2 or 4
};
void sweep(const Sweep& s);

// Scale and offset of one group of each row of a panel, fitted to weights that count differently:
// minimizes Σ_c importance[c] · |w[c] − (scale · code + offset)|³ by rounds of nearest codes and
// least squares from several starts, the parameters that are passed in among them. The cube, since
// large errors add up coherently from layer to layer: on three models predictions were better with
// it than with the square, at 2 and at 4 bits, by 5 to 25 %. Both are
// rounded to fp16 before they are judged, so that the result is never worse than what came in.
struct WeightedFit {
  const float* w = nullptr;  // [cols][kPanelRows]
  const float* importance = nullptr;
  size_t cols = 0;
  int bits = 4;             // 2 or 4
  float* scales = nullptr;  // [kPanelRows]; fp16 values, in and out
  float* offsets = nullptr;
};
void fit_weighted(const WeightedFit& fit);

}  // namespace arrow_quant::kernels
