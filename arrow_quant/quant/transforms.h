// What a weight may have gone through before it was quantized, and how that is undone.
//
// D: the dequantized rows [rows, cols], float32. The entries of TransformsView::order are undone
// one after the other:
//   Hadamard    D ← D · H over consecutive blocks of B columns, H = orthonormal Sylvester [B, B],
//               symmetric and its own inverse
//   LowRank     D ← D + U · V, U [rows, rank] and V [rank, cols] in bf16
//   InputScale  D ← D · diag(1/s), s [cols]: the layer's input is divided by s when it runs
// All sums are added in a fixed order, so that every instruction set gives the same floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

enum class Transform : uint8_t { Hadamard, LowRank, InputScale };
std::string_view to_string(Transform transform);  // "hadamard", "low_rank", "input_scale"
std::optional<Transform> parse_transform(std::string_view name);

// Whether `order` names each transform at most once, in the order of the enumeration. Files hold
// no other orders.
bool is_known_order(std::span<const Transform> order);

// What is needed to undo the transforms of some consecutive rows. Pointers that `order` does not
// ask for are not looked at.
struct TransformsView {
  std::span<const Transform> order;
  size_t hadamard_block = 0;             // B: a power of two that divides cols
  size_t rank = 0;                       // ≥ 1
  const uint16_t* low_rank_u = nullptr;  // bf16 [rows, rank], of the first row on
  const uint16_t* low_rank_v = nullptr;  // bf16 [rank, cols]
  const float* input_scale = nullptr;    // [cols], finite and > 0

  // The same transforms for rows that begin `row` further down.
  TransformsView from_row(size_t row) const;
};

// Multiplies consecutive blocks of `block` columns of every row by H, in place. The butterflies go
// from neighbours (stride 1) to halves (stride block/2), each a sum and a difference; one
// multiplication by float32(1/√block) ends them. Pre: `block` is a power of two that divides cols.
void hadamard_rows(float* x, size_t rows, size_t cols, size_t block);

// x[r, c] ← x[r, c] · factor[c] (multiply) or / factor[c] (divide), in place.
void multiply_columns(float* x, size_t rows, size_t cols, const float* factor);
void divide_columns(float* x, size_t rows, size_t cols, const float* divisor);

// x ← x + U · V, in place. An element's products are added from the first rank to the last, the sum
// then to x. Cost: 2 · rows · cols · rank operations.
void add_low_rank(float* x, size_t rows, size_t cols, const uint16_t* u, const uint16_t* v,
                  size_t rank, QuantizeScratch& scratch);

// Undoes the transforms of the rows at x, in place.
void undo_transforms(float* x, size_t rows, size_t cols, const TransformsView& transforms,
                     QuantizeScratch& scratch);

// dequantize_rows() of quantize.h, the transforms undone in float32, then rounded to `dtype` (F32,
// F16 or BF16). Whole rows of a weight in any number of calls give the same values.
void dequantize_rows(const CodesView& codes, const TransformsView& transforms, DType dtype,
                     void* out, QuantizeScratch& scratch);

}  // namespace arrow_quant
