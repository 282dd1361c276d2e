#include "arrow_quant/quant/trial.h"

#include <algorithm>

#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/quant/row_chunks.h"

namespace arrow_quant {
namespace {

// Room for the codes and parameters of a panel's rows.
CodesOut codes_in(TrialScratch& scratch, size_t rows, size_t cols, const QuantizeSpec& spec) {
  CodesOut out;
  out.codes_stride_bytes = packed_row_bytes(cols, spec.bit_width);
  out.params_stride = groups_per_row(cols, spec.group_size);
  scratch.codes.reserve(rows * out.codes_stride_bytes);
  scratch.params.reserve(2 * rows * out.params_stride * sizeof(uint16_t));
  out.codes = scratch.codes.data();
  out.scales = scratch.params.as<uint16_t>().data();
  out.offsets = out.scales + rows * out.params_stride;
  return out;
}

}  // namespace

void weigh_rows(std::span<const Trial> trials, const InputRows& held_out, const RowsView& source,
                const QuantizeSpec& spec, float tensor_scale, std::span<OutputError> errors,
                RangeStats& range, TrialScratch& scratch) {
  const size_t cols = source.cols;
  RangeStats found;
  for (size_t row = 0; row < source.rows; row += kernels::kPanelRows) {
    const size_t rows = std::min(kernels::kPanelRows, source.rows - row);
    RowsView panel = source;
    panel.data = element_address(source, row, 0);
    panel.rows = rows;
    scratch.weights.reserve(rows * cols * sizeof(float));
    float* weights = scratch.weights.as<float>().data();
    widen_to_f32(panel.data, panel.dtype, rows * cols, weights);
    scratch.meter.set_reference(held_out, weights, rows);
    const CodesOut out = codes_in(scratch, rows, cols, spec);
    const CodesView view = {
        out.codes, out.codes_stride_bytes, out.scales,      out.offsets, out.params_stride, rows,
        cols,      spec.bit_width,         spec.group_size, tensor_scale};
    scratch.restored.reserve(rows * cols * sizeof(float));
    float* restored = scratch.restored.as<float>().data();
    RangeStats of_panel;
    for (size_t i = 0; i < trials.size(); ++i) {
      ErrorStats unused;
      of_panel = {};
      quantize_rows_with(trials[i].recipe, trials[i].inputs, panel, spec, tensor_scale, out, unused,
                         of_panel, scratch.rows);
      if (of_panel.non_finite) break;
      dequantize_rows(view, DType::F32, restored, scratch.rows.rows);
      scratch.meter.measure(trials[i].deployed, restored, errors[i]);
    }
    found.merge(of_panel, row * cols);
  }
  range.merge(found, 0);
}

}  // namespace arrow_quant
