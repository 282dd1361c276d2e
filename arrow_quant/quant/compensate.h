// Quantizing with what is known of a layer's inputs: a grid fitted to weights that count by the
// power of their inputs, and codes that make up for each other's errors (GPTQ; Frantar et al. 2022,
// arXiv:2210.17323, on a grid that is fixed beforehand, with the groups of the original order).
#pragma once

#include <span>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/quant/quantize.h"
#include "arrow_quant/quant/sweep_factor.h"

namespace arrow_quant {

// Which of the two steps are taken. Neither: plain quantize_rows().
struct Recipe {
  bool weighted_grid = false;  // fit the grid to E[x²]
  bool compensated = false;    // pass errors on
  bool operator==(const Recipe&) const = default;
};

struct InputPower {
  std::span<const float> importance;    // E[x²] of each column, for a weighted grid
  const SweepFactor* factor = nullptr;  // for compensation
};

struct CompensateScratch {
  QuantizeScratch rows;
  Buffer floats, natural, ordered, carried, errors, codes, row_codes, params;
};

// Like quantize_rows(), for 2 and 4 bits and whole rows: codes and parameters to `out`, the error
// after a real dequantization, the range. Each row's result is its own: the same bytes for any
// split of a weight into calls, on any instruction set.
void quantize_rows_with(const Recipe& recipe, const InputPower& inputs, const RowsView& source,
                        const QuantizeSpec& spec, float tensor_scale, const CodesOut& out,
                        ErrorStats& error, RangeStats& range, CompensateScratch& scratch);

}  // namespace arrow_quant
