#include "arrow_quant/quant/trial.h"

#include <algorithm>

#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/quant/row_chunks.h"
#include "arrow_quant/quant/transforms.h"

namespace arrow_quant {
namespace {

float* floats_in(Buffer& buffer, size_t count) {
  buffer.reserve(count * sizeof(float));
  return buffer.as<float>().data();
}

// The rows as floats, transformed.
RowsView transformed_rows(const InputTransform& transform, const RowsView& source, Buffer& buffer) {
  float* rows = floats_in(buffer, source.rows * source.cols);
  widen_to_f32(source.data, source.dtype, source.rows * source.cols, rows);
  transform_weights(transform, rows, source.rows, source.cols);
  return {rows, DType::F32, source.rows, source.cols};
}

// What a reader undoes.
TransformsView undoing(const InputTransform& transform, const LowRankView& low_rank,
                       std::vector<Transform>& order) {
  if (transform.hadamard_block != 0) order.push_back(Transform::Hadamard);
  if (low_rank.rank != 0) order.push_back(Transform::LowRank);
  if (!transform.input_scale.empty()) order.push_back(Transform::InputScale);
  TransformsView view;
  view.order = order;
  view.hadamard_block = transform.hadamard_block;
  view.rank = low_rank.rank;
  view.low_rank_u = low_rank.u;
  view.low_rank_v = low_rank.v;
  view.input_scale = transform.input_scale.data();
  return view;
}

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

CodesView view_of(const CodesOut& out, const RowsView& rows, const QuantizeSpec& spec,
                  float tensor_scale) {
  return {
      out.codes, out.codes_stride_bytes, out.scales,      out.offsets, out.params_stride, rows.rows,
      rows.cols, spec.bit_width,         spec.group_size, tensor_scale};
}

}  // namespace

void quantize_rows_as(const Treatment& treatment, const LowRankView& low_rank,
                      const RowsView& source, const QuantizeSpec& spec, float tensor_scale,
                      const CodesOut& out, ErrorStats& error, RangeStats& range,
                      TrialScratch& scratch) {
  if (treatment.view == nullptr) {
    quantize_rows(source, spec, tensor_scale, out, error, range, scratch.rows.rows);
    return;
  }
  const InputView& view = *treatment.view;
  if (view.transform.identity() && low_rank.rank == 0) {
    quantize_rows_with(treatment.recipe, view.power(), source, spec, tensor_scale, out, error,
                       range, scratch.rows);
    return;
  }
  const RowsView rows = transformed_rows(view.transform, source, scratch.transformed);
  ErrorStats of_transformed;
  quantize_rows_with(treatment.recipe, view.power(), rows, spec, tensor_scale, out, of_transformed,
                     range, scratch.rows);
  std::vector<Transform> order;
  float* restored = floats_in(scratch.restored, source.rows * source.cols);
  dequantize_rows(view_of(out, source, spec, tensor_scale),
                  undoing(view.transform, low_rank, order), DType::F32, restored,
                  scratch.rows.rows);
  compare_rows(source, restored, error, scratch.rows.rows);
}

void weigh_rows(std::span<const Treatment> treatments, const InputRows& held_out,
                const RowsView& source, const QuantizeSpec& spec, float tensor_scale,
                std::span<OutputError> errors, RangeStats& range, TrialScratch& scratch) {
  const size_t cols = source.cols;
  RangeStats found;
  for (size_t row = 0; row < source.rows; row += kernels::kPanelRows) {
    RowsView panel = source;
    panel.data = element_address(source, row, 0);
    panel.rows = std::min(kernels::kPanelRows, source.rows - row);
    float* weights = floats_in(scratch.weights, panel.rows * cols);
    widen_to_f32(panel.data, panel.dtype, panel.rows * cols, weights);
    scratch.meter.set_reference(held_out, weights, panel.rows);
    const CodesOut out = codes_in(scratch, panel.rows, cols, spec);
    float* restored = floats_in(scratch.restored, panel.rows * cols);
    RangeStats of_panel;
    RowsView rows = panel;
    const InputView* view = nullptr;
    for (size_t i = 0; i < treatments.size(); ++i) {
      if (treatments[i].view != view) {
        view = treatments[i].view;
        rows = view->transform.identity()
                   ? panel
                   : transformed_rows(view->transform, panel, scratch.transformed);
      }
      ErrorStats unused;
      RangeStats of_rows;
      quantize_rows_with(treatments[i].recipe, view->power(), rows, spec, tensor_scale, out, unused,
                         of_rows, scratch.rows);
      if (i == 0) of_panel = of_rows;
      if (of_rows.non_finite) break;
      dequantize_rows(view_of(out, rows, spec, tensor_scale), DType::F32, restored,
                      scratch.rows.rows);
      scratch.meter.measure(view->held_out, restored, errors[i]);
    }
    found.merge(of_panel, row * cols);
  }
  range.merge(found, 0);
}

void error_of_rows(const Treatment& treatment, const RowsView& source, const QuantizeSpec& spec,
                   float tensor_scale, float* error, TrialScratch& scratch) {
  const size_t cols = source.cols;
  const InputTransform& transform = treatment.view->transform;
  const RowsView rows = transformed_rows(transform, source, scratch.transformed);
  const CodesOut out = codes_in(scratch, source.rows, cols, spec);
  ErrorStats unused;
  RangeStats range;
  quantize_rows_with(treatment.recipe, treatment.view->power(), rows, spec, tensor_scale, out,
                     unused, range, scratch.rows);
  std::vector<Transform> order;
  float* restored = floats_in(scratch.restored, source.rows * cols);
  dequantize_rows(view_of(out, rows, spec, tensor_scale),
                  undoing({{}, transform.hadamard_block}, {}, order), DType::F32, restored,
                  scratch.rows.rows);
  widen_to_f32(source.data, source.dtype, source.rows * cols, error);
  transform_weights({transform.input_scale, 0}, error, source.rows, cols);
  for (size_t i = 0; i < source.rows * cols; ++i) error[i] -= restored[i];
}

std::vector<float> low_rank_inputs(const InputTransform& transform, const InputRows& held_out,
                                   const LowRank& low_rank) {
  const size_t cols = held_out.cols, rank = low_rank.rank;
  std::vector<float> x(held_out.x.begin(), held_out.x.end());
  transform_inputs({transform.input_scale, 0}, x.data(), held_out.count(), cols);
  std::vector<float> v(rank * cols), transposed(cols * rank);
  kernels::widen(low_rank.v.data(), DType::BF16, v.size(), 1.0f, v.data());
  for (size_t k = 0; k < rank; ++k) {
    for (size_t c = 0; c < cols; ++c) transposed[c * rank + k] = v[k * cols + c];
  }
  std::vector<float> inputs(held_out.count() * rank);
  kernels::multiply_add({.a = x.data(),
                         .a_row_stride = cols,
                         .a_col_stride = 1,
                         .b = transposed.data(),
                         .b_stride = rank,
                         .c = inputs.data(),
                         .c_stride = rank,
                         .rows = held_out.count(),
                         .depth = cols,
                         .cols = rank});
  return inputs;
}

void weigh_low_rank(const Treatment& treatment, const LowRankView& low_rank,
                    std::span<const float> inputs, const InputRows& held_out,
                    const RowsView& source, const float* error, OutputError& output_error,
                    TrialScratch& scratch) {
  const size_t cols = source.cols;
  const InputTransform& transform = treatment.view->transform;
  std::vector<float> u(kernels::kPanelRows * low_rank.rank);
  for (size_t row = 0; row < source.rows; row += kernels::kPanelRows) {
    const size_t rows = std::min(kernels::kPanelRows, source.rows - row);
    float* weights = floats_in(scratch.weights, rows * cols);
    widen_to_f32(element_address(source, row, 0), source.dtype, rows * cols, weights);
    scratch.meter.set_reference(held_out, weights, rows);
    // D = (W · diag(s) − E) · H.
    float* restored = floats_in(scratch.restored, rows * cols);
    std::copy(weights, weights + rows * cols, restored);
    transform_weights({transform.input_scale, 0}, restored, rows, cols);
    for (size_t i = 0; i < rows * cols; ++i) restored[i] -= error[row * cols + i];
    transform_weights({{}, transform.hadamard_block}, restored, rows, cols);
    kernels::widen(low_rank.u + row * low_rank.rank, DType::BF16, rows * low_rank.rank, 1.0f,
                   u.data());
    scratch.meter.measure(treatment.view->held_out, restored, output_error,
                          {inputs, u.data(), low_rank.rank});
  }
}

}  // namespace arrow_quant
