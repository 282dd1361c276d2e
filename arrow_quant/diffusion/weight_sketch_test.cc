#include "arrow_quant/diffusion/weight_sketch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arrow_quant/diffusion/diffusion_test_util.h"

namespace arrow_quant {
namespace {

// ‖x·Wᵀ‖² of the weights themselves.
double exact_energy(const Floats& weights, const Floats& x) {
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
  const Floats weights = uniform_values(kCols * kOut, 1);
  const WeightSketch sketch = sketch_of_rows(weights, kCols);
  double ratios = 0;
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Floats x = uniform_values(kCols, 100 + seed);
    const double ratio = sketch.energy(x) / exact_energy(weights, x);
    EXPECT_NEAR(ratio, 1, 0.7) << seed;
    ratios += ratio / 40;
  }
  EXPECT_NEAR(ratios, 1, 0.1);
}

TEST(WeightSketch, OneRowOfWeightsIsMeasuredExactly) {
  const Floats weights = uniform_values(64, 2);
  const Floats x = uniform_values(64, 3);
  EXPECT_NEAR(sketch_of_rows(weights, 64).energy(x), exact_energy(weights, x), 1e-5);
}

TEST(WeightSketch, ApplyIsLinear) {
  const WeightSketch sketch = sketch_of_rows(uniform_values(130 * 20, 4), 130);
  const Floats a = uniform_values(130, 5), b = uniform_values(130, 6);
  Floats sum(130);
  for (size_t j = 0; j < 130; ++j) sum[j] = a[j] + b[j];
  const WeightSketch::Mixed of_a = sketch.apply(a), of_b = sketch.apply(b),
                            of_sum = sketch.apply(sum);
  for (size_t s = 0; s < WeightSketch::kRows; ++s) {
    EXPECT_NEAR(of_sum[s], of_a[s] + of_b[s], 1e-4);
  }
}

TEST(WeightSketch, ManyRowsAreMixedAsEachByItself) {
  constexpr size_t kCols = 130;
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols * 37, 7);
  std::vector<WeightSketch::Mixed> mixed(37);
  std::vector<double> energies(37);
  sketch.apply(rows, mixed);
  sketch.energies(rows, energies);
  for (size_t r = 0; r < 37; ++r) {
    const auto row = std::span(rows).subspan(r * kCols, kCols);
    EXPECT_EQ(mixed[r], sketch.apply(row)) << r;
    EXPECT_EQ(energies[r], sketch.energy(row)) << r;
  }
}

TEST(WeightSketch, SignsBelongToTheNumberOfTheRow) {
  const Floats one = {1};
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
  const Floats one = {1};
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
