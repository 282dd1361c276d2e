#include "arrow_quant/quant/compensate.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "arrow_quant/core/float16.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/quant/row_chunks.h"

namespace arrow_quant {
namespace {

using kernels::kPanelRows;

constexpr size_t kBlock = 128;  // columns that pass their errors on one by one

float* floats_in(Buffer& buffer, size_t count) {
  buffer.reserve(count * sizeof(float));
  return buffer.as<float>().data();
}

// Up to kPanelRows rows of a weight on their way to other codes.
class Panel {
 public:
  Panel(const RowsView& source, size_t first_row, const QuantizeSpec& spec, float tensor_scale,
        const CodesOut& out, CompensateScratch& scratch)
      : spec_(spec),
        cols_(source.cols),
        rows_(std::min(kPanelRows, source.rows - first_row)),
        groups_(groups_per_row(source.cols, spec.group_size)),
        out_(out),
        scratch_(scratch) {
    out_.codes += first_row * out.codes_stride_bytes;
    out_.scales += first_row * out.params_stride;
    out_.offsets += first_row * out.params_stride;
    float* rows = floats_in(scratch.floats, rows_ * cols_);
    kernels::widen(element_address(source, first_row, 0), source.dtype, rows_ * cols_,
                   1.0f / tensor_scale, rows);
    natural_order_.resize(cols_);
    std::iota(natural_order_.begin(), natural_order_.end(), 0u);
    natural_ = floats_in(scratch.natural, cols_ * kPanelRows);
    kernels::load_panel(rows, cols_, rows_, cols_, natural_);
    load_params();
  }

  void fit(std::span<const float> importance) {
    for (size_t g = 0; g < groups_; ++g) {
      const size_t start = g * spec_.group_size;
      kernels::fit_weighted({.w = natural_ + start * kPanelRows,
                             .importance = importance.data() + start,
                             .cols = std::min(spec_.group_size, cols_ - start),
                             .bits = bits_of(spec_.bit_width),
                             .scales = scales_ + g * kPanelRows,
                             .offsets = offsets_ + g * kPanelRows});
    }
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t g = 0; g < groups_; ++g) {
        out_.scales[r * out_.params_stride + g] = float_to_half(scales_[g * kPanelRows + r]);
        out_.offsets[r * out_.params_stride + g] = float_to_half(offsets_[g * kPanelRows + r]);
      }
    }
  }

  // Codes with errors passed on along the factor; without one the nearest codes.
  void quantize(const SweepFactor* factor) {
    const std::vector<uint32_t>& places = factor ? factor->order : natural_order_;
    const float* w = factor ? reorder(places) : natural_;
    std::vector<uint32_t> group(cols_);
    for (size_t c = 0; c < cols_; ++c) {
      group[c] = places[c] / static_cast<uint32_t>(spec_.group_size);
    }
    float* carried = floats_in(scratch_.carried, cols_ * kPanelRows);
    std::memset(carried, 0, cols_ * kPanelRows * sizeof(float));
    float* errors = floats_in(scratch_.errors, kBlock * kPanelRows);
    scratch_.codes.reserve(cols_ * kPanelRows);
    const float* l = factor ? factor->l.as<float>().data() : nullptr;
    for (size_t start = (cols_ - 1) / kBlock * kBlock, end = cols_; end > 0;
         end = start, start -= std::min(start, kBlock)) {
      kernels::sweep(
          {.w = w + start * kPanelRows,
           .carried = carried + start * kPanelRows,
           .error = errors,
           .codes = scratch_.codes.data() + start * kPanelRows,
           .l = factor ? l + start * cols_ + start : nullptr,
           .l_stride = cols_,
           .inverse_diagonal = factor ? factor->inverse_diagonal.data() + start : nullptr,
           .group = group.data() + start,
           .scales = scales_,
           .offsets = offsets_,
           .cols = end - start,
           .bits = bits_of(spec_.bit_width)});
      if (factor && start > 0) {
        kernels::multiply_add({.a = l + start * cols_,
                               .a_row_stride = 1,
                               .a_col_stride = cols_,
                               .b = errors,
                               .b_stride = kPanelRows,
                               .c = carried,
                               .c_stride = kPanelRows,
                               .rows = start,
                               .depth = end - start,
                               .cols = kPanelRows});
      }
    }
    store_codes(places);
  }

 private:
  void load_params() {
    scales_ = floats_in(scratch_.params, 2 * groups_ * kPanelRows);
    offsets_ = scales_ + groups_ * kPanelRows;
    for (size_t g = 0; g < groups_; ++g) {
      for (size_t r = 0; r < kPanelRows; ++r) {
        const size_t at = r * out_.params_stride + g;
        scales_[g * kPanelRows + r] = r < rows_ ? half_to_float(out_.scales[at]) : 1.0f;
        offsets_[g * kPanelRows + r] = r < rows_ ? half_to_float(out_.offsets[at]) : 0.0f;
      }
    }
  }

  const float* reorder(const std::vector<uint32_t>& places) {
    float* w = floats_in(scratch_.ordered, cols_ * kPanelRows);
    for (size_t c = 0; c < cols_; ++c) {
      std::memcpy(w + c * kPanelRows, natural_ + places[c] * kPanelRows,
                  kPanelRows * sizeof(float));
    }
    return w;
  }

  void store_codes(const std::vector<uint32_t>& places) {
    scratch_.row_codes.reserve((cols_ + 63) / 64 * 64);
    const uint8_t* codes = scratch_.codes.data();
    uint8_t* row = scratch_.row_codes.data();
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < cols_; ++c) row[places[c]] = codes[c * kPanelRows + r];
      kernels::pack_codes(row, cols_, bits_of(spec_.bit_width),
                          out_.codes + r * out_.codes_stride_bytes);
    }
  }

  const QuantizeSpec& spec_;
  size_t cols_, rows_, groups_;
  CodesOut out_;
  CompensateScratch& scratch_;
  std::vector<uint32_t> natural_order_;
  float* natural_ = nullptr;
  float* scales_ = nullptr;
  float* offsets_ = nullptr;
};

}  // namespace

void quantize_rows_with(const Recipe& recipe, const InputPower& inputs, const RowsView& source,
                        const QuantizeSpec& spec, float tensor_scale, const CodesOut& out,
                        ErrorStats& error, RangeStats& range, CompensateScratch& scratch) {
  ErrorStats plain;
  RangeStats found;
  quantize_rows(source, spec, tensor_scale, out, plain, found, scratch.rows);
  range.merge(found, 0);
  if (recipe == Recipe{} || found.non_finite) {
    error.merge(plain);
    return;
  }
  for (size_t row = 0; row < source.rows; row += kPanelRows) {
    Panel panel(source, row, spec, tensor_scale, out, scratch);
    if (recipe.weighted_grid) panel.fit(inputs.importance);
    panel.quantize(recipe.compensated ? inputs.factor : nullptr);
  }
  const CodesView view = {out.codes,   out.codes_stride_bytes, out.scales,
                          out.offsets, out.params_stride,      source.rows,
                          source.cols, spec.bit_width,         spec.group_size,
                          tensor_scale};
  float* restored = floats_in(scratch.floats, source.rows * source.cols);
  dequantize_rows(view, DType::F32, restored, scratch.rows);
  compare_rows(source, restored, error, scratch.rows);
}

}  // namespace arrow_quant
