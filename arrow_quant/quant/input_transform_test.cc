#include "arrow_quant/quant/input_transform.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

std::vector<InputTransform> transforms_of(size_t cols) {
  std::vector<float> scale = testing::gaussian(cols, 1.0f, 3);
  for (float& s : scale) s = std::exp2(std::round(s));
  return {{}, {scale, 0}, {{}, 32}, {scale, 64}};
}

// Σ_c x[r, c] · w[o, c], in double.
std::vector<double> outputs(const std::vector<float>& x, const std::vector<float>& w, size_t cols) {
  std::vector<double> y;
  for (size_t r = 0; r < x.size() / cols; ++r) {
    for (size_t o = 0; o < w.size() / cols; ++o) {
      double sum = 0;
      for (size_t c = 0; c < cols; ++c) {
        sum += static_cast<double>(x[r * cols + c]) * w[o * cols + c];
      }
      y.push_back(sum);
    }
  }
  return y;
}

TEST(InputTransformTest, LeavesTheLayersOutputsAsTheyAre) {
  constexpr size_t kCols = 192;
  for (const InputTransform& transform : transforms_of(kCols)) {
    std::vector<float> x = testing::heavy_tailed(20 * kCols, 1.0f, 1);
    std::vector<float> w = testing::gaussian(8 * kCols, 0.1f, 2);
    const std::vector<double> before = outputs(x, w, kCols);
    transform_inputs(transform, x.data(), 20, kCols);
    transform_weights(transform, w.data(), 8, kCols);
    const std::vector<double> after = outputs(x, w, kCols);
    double power = 0;
    for (const double y : before) power += y * y;
    const double rms = std::sqrt(power / static_cast<double>(before.size()));
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_NEAR(after[i], before[i], 1e-3 * rms);
    }
  }
}

TEST(InputTransformTest, TakesTheGramMatrixAlong) {
  constexpr size_t kCols = 64, kRows = 100;
  const std::vector<float> x = testing::gaussian(kRows * kCols, 1.0f, 5);
  const auto gram = [](const std::vector<float>& rows) {
    std::vector<float> xtx;
    for (size_t i = 0; i < kCols; ++i) {
      for (size_t j = i; j < kCols; ++j) {
        double sum = 0;
        for (size_t r = 0; r < kRows; ++r) {
          sum += static_cast<double>(rows[r * kCols + i]) * rows[r * kCols + j];
        }
        xtx.push_back(static_cast<float>(sum));
      }
    }
    return xtx;
  };
  for (const InputTransform& transform : transforms_of(kCols)) {
    std::vector<float> transformed = x;
    transform_inputs(transform, transformed.data(), kRows, kCols);
    const std::vector<float> expected = gram(transformed);
    const std::vector<float> got = transform_gram(transform, gram(x), kCols);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], expected[i], 1e-4 * (std::abs(expected[i]) + kRows));
    }
  }
}

TEST(InputTransformTest, TakesTheLargestBlockThatDividesTheColumns) {
  const std::pair<size_t, size_t> cases[] = {{768, 256}, {3072, 256}, {192, 64},
                                             {96, 32},   {100, 0},    {48, 0}};
  for (const auto& [cols, block] : cases) EXPECT_EQ(usual_hadamard_block(cols), block) << cols;
}

TEST(SmoothingScale, EvensOutInputsAgainstWeights) {
  const std::vector<float> x = {16, 1, 1, 0.0625f};
  const std::vector<float> w = {1, 1, 1, 1};
  EXPECT_EQ(smoothing_scale(x, w, 0.5), (std::vector<float>{4, 1, 1, 0.25f}));
  EXPECT_EQ(smoothing_scale(x, w, 1.0), (std::vector<float>{16, 1, 1, 0.0625f}));
  EXPECT_EQ(smoothing_scale(x, w, 0.0), (std::vector<float>{1, 1, 1, 1}));
}

TEST(SmoothingScale, LeavesColumnsWithoutInputsOrWeightsAlone) {
  EXPECT_EQ(smoothing_scale(std::vector<float>{0, 4, 4}, std::vector<float>{1, 0, 1}, 0.5),
            (std::vector<float>{1, 1, 1}));
}

TEST(SmoothingScale, StaysWithinSixtyFourFold) {
  const std::vector<float> x = {1e12f, 1, 1, 1e-12f};
  const std::vector<float> w = {1, 1, 1, 1};
  EXPECT_EQ(smoothing_scale(x, w, 1.0), (std::vector<float>{64, 1, 1, 1.0f / 64}));
}

}  // namespace
}  // namespace arrow_quant
