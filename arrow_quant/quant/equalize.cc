#include "arrow_quant/quant/equalize.h"

#include <algorithm>
#include <cmath>

#include "arrow_quant/quant/row_chunks.h"

namespace arrow_quant {
namespace {

constexpr size_t kSampledRows = 16;
constexpr double kLargestScale = 64;
constexpr double kLeastGainDb = 0.2;
constexpr double kDbPerBit = 6.02;

}  // namespace

std::vector<float> equalizing_scale(const RowsView& rows, TrialScratch& scratch) {
  scratch.weights.reserve(rows.rows * rows.cols * sizeof(float));
  float* w = scratch.weights.as<float>().data();
  widen_to_f32(rows.data, rows.dtype, rows.rows * rows.cols, w);
  std::vector<float> power(rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) power[c] += w[r * rows.cols + c] * w[r * rows.cols + c];
  }
  // Powers of two and square roots are the same on every machine, logarithms need not be.
  int64_t exponents = 0, count = 0;
  for (const float p : power) {
    if (!(p > 0)) continue;
    exponents += std::ilogb(p);
    ++count;
  }
  const int64_t mean = count == 0 ? 0 : exponents / count;
  const double level = std::ldexp(1.0, static_cast<int>(mean / 2));
  std::vector<float> scale(rows.cols, 1.0f);
  for (size_t c = 0; c < rows.cols; ++c) {
    if (!(power[c] > 0)) continue;
    const double s = level / std::sqrt(static_cast<double>(power[c]));
    scale[c] = static_cast<float>(std::clamp(s, 1 / kLargestScale, kLargestScale));
  }
  return scale;
}

double needed_gain_db(size_t rows) {
  return kLeastGainDb + kDbPerBit * 32 / static_cast<double>(std::max<size_t>(rows, 1));
}

double sampled_gain_db(const RowsView& rows, const QuantizeSpec& spec, float tensor_scale,
                       TrialScratch& scratch) {
  RowsView sizes = rows;
  sizes.rows = std::min(rows.rows, kSampledRows);
  InputView equalized;
  equalized.transform.input_scale = equalizing_scale(sizes, scratch);
  RowsView sample = rows;
  const size_t first = rows.rows >= 2 * kSampledRows ? kSampledRows : 0;
  sample.data = element_address(rows, first, 0);
  sample.rows = std::min(rows.rows - first, kSampledRows);
  CodesOut out;
  out.codes_stride_bytes = packed_row_bytes(sample.cols, spec.bit_width);
  out.params_stride = groups_per_row(sample.cols, spec.group_size);
  std::vector<uint8_t> codes(sample.rows * out.codes_stride_bytes);
  std::vector<uint16_t> params(2 * sample.rows * out.params_stride);
  out.codes = codes.data();
  out.scales = params.data();
  out.offsets = params.data() + sample.rows * out.params_stride;
  const auto sqnr = [&](const Treatment& treatment) {
    ErrorStats error;
    RangeStats range;
    quantize_rows_as(treatment, {}, sample, spec, tensor_scale, out, error, range, scratch);
    return error.sqnr_db();
  };
  return sqnr({&equalized, {}}) - sqnr({});
}

}  // namespace arrow_quant
