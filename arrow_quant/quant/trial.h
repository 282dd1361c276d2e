// Ways to quantize a layer, judged side by side on input rows that took no part in finding them.
#pragma once

#include <span>
#include <vector>

#include "arrow_quant/quant/compensate.h"
#include "arrow_quant/quant/output_error.h"

namespace arrow_quant {

struct Trial {
  Recipe recipe;
  InputPower inputs;
  // Held-out rows as the layer will see them, [rows, cols].
  std::span<const float> deployed;
};

struct TrialScratch {
  CompensateScratch rows;
  OutputMeter meter;
  Buffer weights, restored, codes, params;
};

// Quantizes some rows of a weight in every way, keeps nothing, and adds the error of the outputs to
// errors[i] of trial i. Where a weight is not finite, `range` says so and the errors are
// unspecified.
void weigh_rows(std::span<const Trial> trials, const InputRows& held_out, const RowsView& source,
                const QuantizeSpec& spec, float tensor_scale, std::span<OutputError> errors,
                RangeStats& range, TrialScratch& scratch);

}  // namespace arrow_quant
