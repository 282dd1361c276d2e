#include "arrow_quant/diffusion/weight_sketch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace arrow_quant {
namespace {

std::vector<float> uniform_values(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(random()) / 2147483648.0 - 1);
  }
  return values;
}

WeightSketch sketch_of(const std::vector<float>& weights, size_t cols) {
  WeightSketch sketch(cols);
  for (size_t row = 0; row * cols < weights.size(); ++row) {
    sketch.add_row(row, std::span(weights).subspan(row * cols, cols));
  }
  return sketch;
}

double output_energy(const std::vector<float>& weights, const std::vector<float>& x) {
  double energy = 0;
  for (size_t begin = 0; begin < weights.size(); begin += x.size()) {
    double y = 0;
    for (size_t j = 0; j < x.size(); ++j) y += static_cast<double>(weights[begin + j]) * x[j];
    energy += y * y;
  }
  return energy;
}

TEST(WeightSketch, EnergyEstimatesThatOfTheOutputs) {
  constexpr size_t kCols = 100, kOut = 200;
  const std::vector<float> weights = uniform_values(kCols * kOut, 1);
  const WeightSketch sketch = sketch_of(weights, kCols);
  double ratios = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const std::vector<float> x = uniform_values(kCols, 100 + seed);
    const double ratio = sketch.energy(x) / output_energy(weights, x);
    EXPECT_NEAR(ratio, 1, 0.7) << seed;
    ratios += ratio / 40;
  }
  EXPECT_NEAR(ratios, 1, 0.1);
}

TEST(WeightSketch, OneRowOfWeightsIsMeasuredExactly) {
  const std::vector<float> weights = uniform_values(64, 2);
  const std::vector<float> x = uniform_values(64, 3);
  EXPECT_NEAR(sketch_of(weights, 64).energy(x), output_energy(weights, x), 1e-5);
}

TEST(WeightSketch, ApplyIsLinear) {
  const WeightSketch sketch = sketch_of(uniform_values(130 * 20, 4), 130);
  const std::vector<float> a = uniform_values(130, 5), b = uniform_values(130, 6);
  std::vector<float> sum(130);
  for (size_t j = 0; j < 130; ++j) sum[j] = a[j] + b[j];
  const WeightSketch::Mixed of_a = sketch.apply(a), of_b = sketch.apply(b),
                            of_sum = sketch.apply(sum);
  for (size_t s = 0; s < WeightSketch::kRows; ++s) {
    EXPECT_NEAR(of_sum[s], of_a[s] + of_b[s], 1e-4);
  }
}

TEST(WeightSketch, SignsBelongToTheNumberOfTheRow) {
  const std::vector<float> one = {1};
  WeightSketch first(1), second(1);
  first.add_row(0, one);
  second.add_row(1, one);
  const WeightSketch::Mixed a = first.apply(one), b = second.apply(one);
  size_t equal = 0;
  for (size_t s = 0; s < WeightSketch::kRows; ++s) {
    EXPECT_FLOAT_EQ(static_cast<float>(std::abs(a[s])), 1 / std::sqrt(48.0f));
    equal += a[s] == b[s];
  }
  EXPECT_GT(equal, 10u);
  EXPECT_LT(equal, 38u);
}

TEST(WeightSketch, SignsAreTheSameEverywhere) {
  // Known values of SplitMix64 seeded with 0: 0xe220a8397b1dcdaf, then 0x6e789e6aa1b965f4.
  const std::vector<float> one = {1};
  for (const auto& [row, bits] : {std::pair<size_t, uint64_t>{0, 0xe220a8397b1dcdaf},
                                  std::pair<size_t, uint64_t>{1, 0x6e789e6aa1b965f4}}) {
    WeightSketch sketch(1);
    sketch.add_row(row, one);
    const WeightSketch::Mixed signs = sketch.apply(one);
    for (size_t s = 0; s < WeightSketch::kRows; ++s) {
      EXPECT_EQ(signs[s] > 0, (bits >> s & 1) == 1) << row << ", " << s;
    }
  }
}

}  // namespace
}  // namespace arrow_quant
