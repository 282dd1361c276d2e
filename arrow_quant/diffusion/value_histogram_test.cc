#include "arrow_quant/diffusion/value_histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace arrow_quant {
namespace {

ValueHistogram bell() {
  std::vector<double> edges, mass;
  for (int i = 0; i <= 400; ++i) edges.push_back(-4 + i * 0.02);
  for (int i = 0; i < 400; ++i) {
    const double x = edges[static_cast<size_t>(i)] + 0.01 - 0.3;
    mass.push_back(std::exp(-x * x / 2));
  }
  return ValueHistogram(edges, mass);
}

// Both derivatives against central differences.
template <class Function>
void expect_slopes(const Function& f, const CodeGrid& grid, double h, double tolerance) {
  const GridSlope slope = f(grid);
  CodeGrid less = grid, more = grid;
  less.lo -= h;
  more.lo += h;
  EXPECT_NEAR(slope.by_lo, (f(more).value - f(less).value) / (2 * h), tolerance);
  less = more = grid;
  less.step -= h;
  more.step += h;
  EXPECT_NEAR(slope.by_step, (f(more).value - f(less).value) / (2 * h), tolerance);
}

TEST(ValueHistogram, DistortionIsTheMeanSquaredDistanceToTheNearestCode) {
  const ValueHistogram histogram({0, 2, 4, 6}, {1, 2, 1});  // middles 1, 3, 5
  EXPECT_DOUBLE_EQ(histogram.distortion({0, 1, 4}).value, 0);
  EXPECT_DOUBLE_EQ(histogram.distortion({0, 1, 1}).value, (0 + 2 * 4 + 16) / 4.0);
  EXPECT_DOUBLE_EQ(histogram.distortion({1.5, 1, 1}).value, (0.25 + 2 * 0.25 + 6.25) / 4.0);
}

TEST(ValueHistogram, DistortionHasTheSlopesOfFiniteDifferences) {
  const ValueHistogram histogram = bell();
  for (const int bits : {2, 4, 8}) {
    const double codes = (1 << bits) - 1;
    for (const double width : {3.0, 5.003, 9.1}) {
      const CodeGrid grid = {-width / 2 + 0.1037, width / codes, bits};
      expect_slopes([&](const CodeGrid& g) { return histogram.distortion(g); }, grid, 1e-8, 1e-4);
    }
  }
}

TEST(ValueHistogram, EntropyIsLargestWhereAllCodesAreUsedAlike) {
  const ValueHistogram even({0, 8}, {5});
  EXPECT_DOUBLE_EQ(even.entropy({1, 2, 2}).value, 2);
  EXPECT_DOUBLE_EQ(even.entropy({4, 8, 1}).value, 0) << "all values take one code";
  EXPECT_DOUBLE_EQ(even.entropy({3.5, 1, 1}).value, 1);
  EXPECT_LT(even.entropy({0, 1, 2}).value, 2);
}

TEST(ValueHistogram, EntropyHasTheSlopesOfFiniteDifferences) {
  const ValueHistogram histogram = bell();
  for (const int bits : {2, 4}) {
    const double codes = (1 << bits) - 1;
    for (const double width : {2.0, 5.003, 7.1}) {
      const CodeGrid grid = {-width / 2 + 0.1037, width / codes, bits};
      expect_slopes([&](const CodeGrid& g) { return histogram.entropy(g); }, grid, 1e-7, 1e-5);
    }
  }
}

TEST(ValueHistogram, ValuesFillBinsBetweenTheirExtremes) {
  const std::vector<float> values = {-1, -1, 0, 3};
  const ValueHistogram histogram = ValueHistogram::of(values, 4);  // middles −0.5, 0.5, 1.5, 2.5
  EXPECT_DOUBLE_EQ(histogram.distortion({-0.5, 1, 2}).value, 0);
  EXPECT_DOUBLE_EQ(histogram.entropy({-0.5, 1, 2}).value, 1.5);
  const std::vector<float> constant = {2, 2};
  EXPECT_DOUBLE_EQ(ValueHistogram::of(constant).entropy({0, 1, 2}).value, 0);
}

}  // namespace
}  // namespace arrow_quant
