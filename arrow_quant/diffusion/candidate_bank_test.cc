#include "arrow_quant/diffusion/candidate_bank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "arrow_quant/diffusion/diffusion_test_util.h"

namespace arrow_quant {
namespace {

constexpr size_t kCols = 96;

// Over all rows.
std::vector<double> all_costs(const CandidateErrors& errors) {
  std::vector<size_t> rows(errors.energies.size());
  std::iota(rows.begin(), rows.end(), 0);
  return errors.costs(rows);
}

std::vector<double> clip_costs(const Floats& rows, int bits, const WeightSketch& sketch) {
  return all_costs(clip_errors(rows, bits, sketch));
}

std::vector<double> range_costs(const Floats& rows, const ValueRange& calibrated, int bits,
                                const WeightSketch& sketch) {
  return all_costs(range_errors(rows, calibrated, bits, sketch));
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
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols * 5, 1);
  const std::vector<double> costs = clip_costs(rows, 4, sketch);
  ASSERT_EQ(costs.size(), kClipRatios);
  Floats values(rows.size());
  quantize_dynamic(rows, kCols, 0.5f, 4, values);
  const double energy = output_energy(rows, sketch);
  EXPECT_NEAR(costs[10], output_error(rows, values, sketch) / energy, 1e-12);
  quantize_static(rows, static_quantizer(range_candidate({-1, 1}, 7), 4), 4, values);
  EXPECT_NEAR(range_costs(rows, {-1, 1}, 4, sketch)[7], output_error(rows, values, sketch) / energy,
              1e-12);
}

TEST(CandidateBank, CostsOfSomeRowsAreThoseOfTheseRowsAlone) {
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols * 4, 3);
  const CandidateErrors all = range_errors(rows, {-1, 1}, 4, sketch);
  Floats some(rows.begin() + kCols, rows.begin() + 2 * kCols);
  some.insert(some.end(), rows.begin() + 3 * kCols, rows.end());
  EXPECT_EQ(all.costs(std::vector<size_t>{1, 3}), range_costs(some, {-1, 1}, 4, sketch));
}

TEST(CandidateBank, OutliersAreWorthClippingAndEvenValuesAreNot) {
  const WeightSketch sketch = any_sketch(kCols);
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
  const WeightSketch sketch = any_sketch(kCols);
  const Floats zeros(kCols * 2);
  EXPECT_EQ(clip_costs(zeros, 4, sketch), std::vector<double>(kClipRatios));
  EXPECT_EQ(range_costs(zeros, {0, 0}, 4, sketch), std::vector<double>(kRangeCandidates));
  EXPECT_EQ(clip_costs({}, 4, sketch), std::vector<double>(kClipRatios)) << "no rows";
}

}  // namespace
}  // namespace arrow_quant
