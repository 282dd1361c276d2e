#include "arrow_quant/diffusion/activation_quantizer.h"

#include <algorithm>
#include <cmath>

#include "arrow_quant/diffusion/round_to_even.h"

namespace arrow_quant {
namespace {

float largest_code(int bits) {
  return static_cast<float>((1 << bits) - 1);
}

void quantize_row(std::span<const float> row, float clip, float most, float* out) {
  const auto [least, largest] = std::minmax_element(row.begin(), row.end());
  const float lo = clip * std::min(*least, 0.0f);
  const float hi = clip * std::max(*largest, 0.0f);
  const float scale = (hi - lo) / most;
  if (!(scale > 0)) {
    std::fill_n(out, row.size(), 0.0f);
    return;
  }
  for (size_t i = 0; i < row.size(); ++i) {
    const float code = std::min(std::max((row[i] - lo) / scale, 0.0f), most);
    out[i] = round_to_even(code) * scale + lo;
  }
}

}  // namespace

void quantize_dynamic(std::span<const float> rows, size_t cols, float clip, int bits,
                      std::span<float> out) {
  for (size_t begin = 0; begin < rows.size(); begin += cols) {
    quantize_row(rows.subspan(begin, cols), clip, largest_code(bits), out.data() + begin);
  }
}

StaticQuantizer static_quantizer(const ValueRange& range, int bits) {
  const double most = (1 << bits) - 1;
  const double lo = std::min(range.lo, 0.0);
  const double hi = std::max(range.hi, 0.0);
  const auto scale = static_cast<float>((hi - lo) / most);
  if (!(scale > 0)) {
    return {};
  }
  const double zero_point = std::nearbyint(-lo / scale);
  return {scale, static_cast<int32_t>(std::clamp(zero_point, 0.0, most))};
}

void quantize_static(std::span<const float> values, const StaticQuantizer& quantizer, int bits,
                     std::span<float> out) {
  // Codes without the zero point: the ends are integers, so clamping may come before rounding.
  const auto least = static_cast<float>(-quantizer.zero_point);
  const float most = largest_code(bits) + least;
  for (size_t i = 0; i < values.size(); ++i) {
    const float code = std::min(std::max(values[i] / quantizer.scale, least), most);
    out[i] = quantizer.scale * round_to_even(code);
  }
}

}  // namespace arrow_quant
