#include "arrow_quant/diffusion/activation_quantizer.h"

#include <algorithm>
#include <cmath>

#include "arrow_quant/kernels/kernels.h"

namespace arrow_quant {
namespace {

float largest_code(int bits) {
  return static_cast<float>((1 << bits) - 1);
}

// A row without width, or of which nothing is left, gets the grid whose only value is 0.
kernels::UniformGrid dynamic_grid(std::span<const float> row, float clip, int bits) {
  const auto [least, largest] = std::minmax_element(row.begin(), row.end());
  const float lo = clip * std::min(*least, 0.0f);
  const float hi = clip * std::max(*largest, 0.0f);
  const float scale = (hi - lo) / largest_code(bits);
  if (!(scale > 0)) return {.scale = 1, .offset = 0, .least = 0, .most = 0};
  return {scale, lo, 0, largest_code(bits)};
}

// kernel: grid_values or grid_errors, run on each row's own grid.
void run_on_rows(decltype(kernels::grid_values) kernel, std::span<const float> rows, size_t cols,
                 float clip, int bits, std::span<float> out) {
  for (size_t begin = 0; begin < rows.size(); begin += cols) {
    const std::span<const float> row = rows.subspan(begin, cols);
    kernel(row.data(), cols, dynamic_grid(row, clip, bits), out.data() + begin);
  }
}

// Codes without the zero point: the ends are integers, so clamping may come before rounding.
kernels::UniformGrid static_grid(const StaticQuantizer& quantizer, int bits) {
  const auto least = static_cast<float>(-quantizer.zero_point);
  return {quantizer.scale, 0, least, largest_code(bits) + least};
}

}  // namespace

void quantize_dynamic(std::span<const float> rows, size_t cols, float clip, int bits,
                      std::span<float> out) {
  run_on_rows(kernels::grid_values, rows, cols, clip, bits, out);
}

void dynamic_errors(std::span<const float> rows, size_t cols, float clip, int bits,
                    std::span<float> out) {
  run_on_rows(kernels::grid_errors, rows, cols, clip, bits, out);
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
  kernels::grid_values(values.data(), values.size(), static_grid(quantizer, bits), out.data());
}

void static_errors(std::span<const float> values, const StaticQuantizer& quantizer, int bits,
                   std::span<float> out) {
  kernels::grid_errors(values.data(), values.size(), static_grid(quantizer, bits), out.data());
}

}  // namespace arrow_quant
