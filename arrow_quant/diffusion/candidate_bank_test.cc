#include "arrow_quant/diffusion/candidate_bank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace arrow_quant {
namespace {

using Floats = std::vector<float>;

constexpr size_t kCols = 96;

Floats uniform_values(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Floats values(count);
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(random()) / 2147483648.0 - 1);
  }
  return values;
}

WeightSketch any_sketch() {
  WeightSketch sketch(kCols);
  for (size_t row = 0; row < 60; ++row) {
    sketch.add_row(row, uniform_values(kCols, static_cast<unsigned>(1000 + row)));
  }
  return sketch;
}

size_t index_of_least(const std::vector<double>& costs) {
  return static_cast<size_t>(std::min_element(costs.begin(), costs.end()) - costs.begin());
}

TEST(CandidateBank, ClipRatiosGoFromNoneToTwoFifths) {
  EXPECT_EQ(clip_ratio(0), 1.0);
  EXPECT_EQ(clip_ratio(1), 0.95);
  EXPECT_EQ(clip_ratio(kClipRatios - 1), 0.4);
}

TEST(CandidateBank, RangesAreEveryPairOfFactors) {
  const ValueRange calibrated = {-2, 10};
  EXPECT_DOUBLE_EQ(range_candidate(calibrated, 0).lo, -2.2);
  EXPECT_DOUBLE_EQ(range_candidate(calibrated, 0).hi, 11);
  const ValueRange narrow = range_candidate(calibrated, kRangeCandidates - 1);
  EXPECT_NEAR(narrow.lo, -0.24, 1e-12);
  EXPECT_NEAR(narrow.hi, 1.2, 1e-12);
  const ValueRange mixed = range_candidate(calibrated, kRangeFactors - 1);
  EXPECT_DOUBLE_EQ(mixed.lo, -2.2);
  EXPECT_NEAR(mixed.hi, 1.2, 1e-12);
}

TEST(CandidateBank, CostsAreTheErrorOfTheOutputs) {
  const WeightSketch sketch = any_sketch();
  const Floats rows = uniform_values(kCols * 5, 1);
  const std::vector<double> costs = clip_costs(rows, 4, sketch);
  ASSERT_EQ(costs.size(), kClipRatios);
  Floats values(rows.size());
  quantize_dynamic(rows, kCols, 0.5f, 4, values);
  double error = 0, energy = 0;
  for (size_t r = 0; r < 5; ++r) {
    Floats difference(kCols);
    for (size_t j = 0; j < kCols; ++j) difference[j] = values[r * kCols + j] - rows[r * kCols + j];
    error += sketch.energy(difference);
    energy += sketch.energy(std::span(rows).subspan(r * kCols, kCols));
  }
  EXPECT_DOUBLE_EQ(costs[10], error / energy);
}

TEST(CandidateBank, OutliersAreWorthClippingAndEvenValuesAreNot) {
  const WeightSketch sketch = any_sketch();
  Floats rows = uniform_values(kCols * 16, 2);
  EXPECT_LE(index_of_least(clip_costs(rows, 4, sketch)), 1u);
  const ValueRange even = {-1, 1};
  const ValueRange of_even =
      range_candidate(even, index_of_least(range_costs(rows, even, 4, sketch)));
  EXPECT_NEAR(of_even.hi, 1, 0.25);
  EXPECT_NEAR(of_even.lo, -1, 0.25);
  for (size_t r = 0; r < 16; ++r) rows[r * kCols + r] = 3;
  EXPECT_GT(index_of_least(clip_costs(rows, 2, sketch)), 3u);
  const ValueRange outliers = {-1, 3};
  const ValueRange clipped =
      range_candidate(outliers, index_of_least(range_costs(rows, outliers, 2, sketch)));
  EXPECT_LT(clipped.hi, 2);
}

TEST(CandidateBank, RowsOfZerosCostNothing) {
  const WeightSketch sketch = any_sketch();
  const Floats zeros(kCols * 2);
  EXPECT_EQ(clip_costs(zeros, 4, sketch), std::vector<double>(kClipRatios));
  EXPECT_EQ(range_costs(zeros, {0, 0}, 4, sketch), std::vector<double>(kRangeCandidates));
  EXPECT_EQ(clip_costs({}, 4, sketch), std::vector<double>(kClipRatios)) << "no rows";
}

}  // namespace
}  // namespace arrow_quant
