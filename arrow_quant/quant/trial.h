// Ways to quantize a layer, judged side by side on input rows that took no part in finding them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "arrow_quant/quant/compensate.h"
#include "arrow_quant/quant/input_transform.h"
#include "arrow_quant/quant/low_rank.h"
#include "arrow_quant/quant/output_error.h"

namespace arrow_quant {

// A layer's inputs as one transform leaves them.
struct InputView {
  InputTransform transform;
  std::vector<float> importance;      // E[x²] of each column; empty: unknown
  std::optional<SweepFactor> factor;  // where errors may be passed on
  // Held-out rows as the layer will see them, [rows, cols]: transformed, then quantized if
  // activations are.
  std::vector<float> held_out;

  InputPower power() const { return {importance, factor ? &*factor : nullptr}; }
};

// A way to quantize a layer. No view: as quantize_rows() does.
struct Treatment {
  const InputView* view = nullptr;
  Recipe recipe;
};

struct TrialScratch {
  CompensateScratch rows;
  OutputMeter meter;
  Buffer weights, transformed, restored, codes, params;
};

// Like quantize_rows_with(), on transformed weights if the treatment has a transform; the error is
// that of the weights with the transform undone, and `low_rank` added. Pre: no low rank without a
// view.
void quantize_rows_as(const Treatment& treatment, const LowRankView& low_rank,
                      const RowsView& source, const QuantizeSpec& spec, float tensor_scale,
                      const CodesOut& out, ErrorStats& error, RangeStats& range,
                      TrialScratch& scratch);

// Quantizes some rows of a weight in every way, keeps nothing, and adds the error of the outputs to
// errors[i] of treatment i, against those of the original on `held_out`. Every treatment has a
// view. Where a weight is not finite, `range` says so and the errors are unspecified.
void weigh_rows(std::span<const Treatment> treatments, const InputRows& held_out,
                const RowsView& source, const QuantizeSpec& spec, float tensor_scale,
                std::span<OutputError> errors, RangeStats& range, TrialScratch& scratch);

// What quantizing some rows of a weight leaves to a low rank (FORMAT.md): E = W · diag(s) − D · H,
// rows · cols floats at `error`. Pre: the treatment has a view; the weights are finite.
void error_of_rows(const Treatment& treatment, const RowsView& source, const QuantizeSpec& spec,
                   float tensor_scale, float* error, TrialScratch& scratch);

// x / s · Vᵀ of held-out rows, [count, rank]: what U is multiplied by when the layer runs.
std::vector<float> low_rank_inputs(const InputTransform& transform, const InputRows& held_out,
                                   const LowRank& low_rank);

// Like weigh_rows() for one treatment with a low rank, from what error_of_rows() left. `low_rank`:
// of the rows at `source`; `inputs`: what low_rank_inputs() gave for it.
void weigh_low_rank(const Treatment& treatment, const LowRankView& low_rank,
                    std::span<const float> inputs, const InputRows& held_out,
                    const RowsView& source, const float* error, OutputError& output_error,
                    TrialScratch& scratch);

}  // namespace arrow_quant
