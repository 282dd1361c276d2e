#include "arrow_quant/quant/zero_point.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "arrow_quant/core/float16.h"
#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

using testing::gaussian;
using testing::quantize;
using testing::Quantized;
using testing::rows_view;

constexpr BitWidth kWidths[] = {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8};

struct Restored {
  std::vector<float> scales, zero_points, weights;
};

Restored restore(const Quantized& q) {
  Restored r;
  r.scales.resize(q.scales.size());
  r.zero_points.resize(q.scales.size());
  const bool has_offsets = q.view.bit_width != BitWidth::Int8;
  to_zero_points(q.scales.data(), has_offsets ? q.offsets.data() : nullptr, q.scales.size(),
                 q.view.tensor_scale, r.scales.data(), r.zero_points.data());
  r.weights.resize(q.restored.size());
  dequantize_rows({q.codes.data(), r.scales.data(), r.zero_points.data(), q.view.rows, q.view.cols,
                   q.view.bit_width, q.view.group_size},
                  {0, 0, q.view.rows, q.view.cols}, r.weights.data());
  return r;
}

TEST(ZeroPoint, IsMinusTheOffsetInSteps) {
  const std::vector<float> x = gaussian(4 * 300, 0.02f, 1);
  for (const BitWidth width : kWidths) {
    for (const float tensor_scale : {1.0f, 0x1p-20f}) {
      const Quantized q = quantize(rows_view(x, 4), {width}, tensor_scale);
      const Restored r = restore(q);
      for (size_t i = 0; i < q.scales.size(); ++i) {
        const float scale = half_to_float(q.scales[i]);
        ASSERT_EQ(r.scales[i], tensor_scale * scale);
        const float offset = width == BitWidth::Int8 ? 0.0f : half_to_float(q.offsets[i]);
        ASSERT_EQ(r.zero_points[i], (0.0f - offset) / scale);
        ASSERT_FALSE(std::signbit(r.zero_points[i]) && r.zero_points[i] == 0.0f);
      }
    }
  }
}

TEST(ZeroPoint, RestoresWhatAFileRestoresUpToRoundings) {
  // Rows far from zero, around it, constant, and zero.
  std::vector<float> x = gaussian(4 * 300, 0.02f, 2);
  for (size_t i = 0; i < 300; ++i) {
    x[i] += 3.0f;
    x[600 + i] = 0.1f;
    x[900 + i] = 0.0f;
  }
  for (const BitWidth width : kWidths) {
    const Quantized q = quantize(rows_view(x, 4), {width});
    const Restored r = restore(q);
    for (size_t i = 0; i < x.size(); ++i) {
      // Code and zero point, their difference and its product: each of the three roundings is at
      // most 2^-24 of offset and weight, which are at most 3.1 here.
      ASSERT_NEAR(r.weights[i], q.restored[i], 3 * 0x1p-24f * 2 * 3.1f) << i;
    }
  }
}

TEST(ZeroPoint, WithoutZeroPointsTheyAreZero) {
  const std::vector<float> x = gaussian(5 * 77, 1.0f, 3);
  const Quantized q = quantize(rows_view(x, 5), {BitWidth::Int8});
  const Restored r = restore(q);
  EXPECT_EQ(r.weights, q.restored);
  std::vector<float> weights(x.size());
  dequantize_rows({q.codes.data(), r.scales.data(), nullptr, 5, 77, BitWidth::Int8, 128},
                  {0, 0, 5, 77}, weights.data());
  EXPECT_EQ(weights, r.weights);
}

TEST(ZeroPoint, AnyPartCanBeTaken) {
  const size_t cols = 1000;
  const std::vector<float> x = gaussian(3 * cols, 1.0f, 4);
  for (const BitWidth width : kWidths) {
    const Quantized q = quantize(rows_view(x, 3), {width, 64});
    const Restored r = restore(q);
    const ZeroPointView view = {
        q.codes.data(), r.scales.data(), r.zero_points.data(), 3, cols, width, 64};
    for (const PartOfRows part : {PartOfRows{1, 0, 2, cols}, PartOfRows{2, 512, 1, 488}}) {
      std::vector<float> weights(part.rows * part.cols);
      dequantize_rows(view, part, weights.data());
      const auto* first = r.weights.data() + part.row * cols + part.col;
      EXPECT_EQ(weights, std::vector<float>(first, first + weights.size()));
    }
  }
}

}  // namespace
}  // namespace arrow_quant
