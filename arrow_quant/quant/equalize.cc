#include "arrow_quant/quant/equalize.h"

#include <algorithm>
#include <cmath>

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
  double sum = 0;
  size_t count = 0;
  for (const float p : power) {
    if (!(p > 0)) continue;
    sum += std::log2(static_cast<double>(p));
    ++count;
  }
  std::vector<float> scale(rows.cols, 1.0f);
  const double mean = count == 0 ? 0 : sum / static_cast<double>(count);
  for (size_t c = 0; c < rows.cols; ++c) {
    if (!(power[c] > 0)) continue;
    const double s = std::exp2((mean - std::log2(static_cast<double>(power[c]))) / 2);
    scale[c] = static_cast<float>(std::clamp(s, 1 / kLargestScale, kLargestScale));
  }
  return scale;
}

double needed_gain_db(size_t rows) {
  return kLeastGainDb + kDbPerBit * 32 / static_cast<double>(std::max<size_t>(rows, 1));
}

double sampled_gain_db(const InputView& equalized, const RowsView& rows, const QuantizeSpec& spec,
                       float tensor_scale, TrialScratch& scratch) {
  RowsView sample = rows;
  sample.rows = std::min(rows.rows, kSampledRows);
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
    quantize_rows_as(treatment, sample, spec, tensor_scale, out, error, range, scratch);
    return error.sqnr_db();
  };
  return sqnr({&equalized, {}}) - sqnr({});
}

}  // namespace arrow_quant
