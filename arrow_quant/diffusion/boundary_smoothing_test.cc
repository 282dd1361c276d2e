#include "arrow_quant/diffusion/boundary_smoothing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

namespace arrow_quant {
namespace {

constexpr InterpolationMethod kMethods[] = {InterpolationMethod::Linear, InterpolationMethod::Cubic,
                                            InterpolationMethod::Sigmoid};

// Value, first and second derivative at `at`, from one side (direction −1 or 1), of a function
// that is a cubic there: exact but for rounding.
std::array<double, 3> one_sided(const std::function<double(double)>& f, double at,
                                double direction) {
  constexpr double h = 0.02;
  std::array<double, 4> y;
  for (size_t i = 0; i < 4; ++i) y[i] = f(at + direction * h * static_cast<double>(i));
  const double first = y[1] - y[0], second = y[2] - 2 * y[1] + y[0],
               third = y[3] - 3 * y[2] + 3 * y[1] - y[0];
  return {y[0], direction * (first - second / 2 + third / 3) / h, (second - third) / (h * h)};
}

TEST(BoundarySmoothing, CurvesRiseFromZeroToOneAndMirror) {
  for (const InterpolationMethod method : kMethods) {
    EXPECT_EQ(blend_curve(method, 0), 0);
    EXPECT_EQ(blend_curve(method, 1), 1);
    EXPECT_EQ(blend_curve(method, -0.1), 0);
    EXPECT_EQ(blend_curve(method, 1.1), 1);
    EXPECT_NEAR(blend_curve(method, 0.5), 0.5, 1e-15);
    EXPECT_NEAR(blend_curve(method, 1e-9), 0, 1e-8) << "no jump at the end";
    double before = 0;
    for (int i = 1; i <= 300; ++i) {
      const double u = i / 300.0, share = blend_curve(method, u);
      EXPECT_GT(share, before) << to_string(method) << " at " << u;
      EXPECT_LE(share, 1) << "no overshoot";
      EXPECT_NEAR(share + blend_curve(method, 1 - u), 1, 1e-12);
      before = share;
    }
  }
}

TEST(BoundarySmoothing, TheCubicHasTwoContinuousDerivatives) {
  const auto curve = [](double u) { return blend_curve(InterpolationMethod::Cubic, u); };
  for (const double joint : {0.0, 1 / 3.0, 2 / 3.0, 1.0}) {
    const std::array<double, 3> left = one_sided(curve, joint, -1);
    const std::array<double, 3> right = one_sided(curve, joint, 1);
    for (size_t order = 0; order < 3; ++order) {
      EXPECT_NEAR(left[order], right[order], 1e-9) << joint << ", derivative " << order;
    }
  }
}

TEST(BoundarySmoothing, SecondDifferencesOfTheCubicShrinkAndNoneJumps) {
  // Of the continuous function: their largest change between neighbours falls as the step does.
  const auto largest_change = [](double h) {
    const auto second = [h](double u) {
      const auto f = [](double x) { return blend_curve(InterpolationMethod::Cubic, x); };
      return (f(u + h) - 2 * f(u) + f(u - h)) / (h * h);
    };
    double change = 0;
    for (double u = -0.1; u < 1.1; u += h)
      change = std::max(change, std::abs(second(u + h) - second(u)));
    return change;
  };
  EXPECT_NEAR(largest_change(1e-3) / largest_change(1e-2), 0.1, 0.02);
}

TEST(BoundarySmoothing, TheOthersArePromisedNoSecondDerivative) {
  const auto linear = [](double u) { return blend_curve(InterpolationMethod::Linear, u); };
  EXPECT_NEAR(one_sided(linear, 0, 1)[1] - one_sided(linear, 0, -1)[1], 1, 1e-9);
}

TEST(BoundarySmoothing, WindowsLieAroundBoundariesAndNeverOverlap) {
  const std::vector<size_t> begins = {0, 10, 14};
  const auto at = [&](double window, double step) {
    return BoundaryBlend{begins, 30, InterpolationMethod::Linear, window}.at(step);
  };
  struct Case {
    double window, step;
    size_t group;
    double later_share;
  };
  for (const Case& c : {
           Case{2, 0, 0, 0}, Case{2, 8, 0, 0}, Case{2, 9, 0, 0.25}, Case{2, 10, 0, 0.75},
           Case{2, 11, 1, 0}, Case{2, 9.5, 0, 0.5}, Case{2, 13, 1, 0.25}, Case{2, 29, 2, 0},
           // 100 steps are cut to the 4 of the middle group: 7.5 … 11.5, then 11.5 … 15.5.
           Case{100, 7, 0, 0}, Case{100, 8, 0, 0.125}, Case{100, 11, 0, 0.875},
           Case{100, 12, 1, 0.125}, Case{100, 15, 1, 0.875}, Case{100, 16, 2, 0}, Case{1, 9, 0, 0},
           Case{1, 10, 1, 0},  // between two steps: no step is touched
       }) {
    const StepBlend blend = at(c.window, c.step);
    // Group g at share 0 and group g − 1 at share 1 are the same.
    EXPECT_NEAR(static_cast<double>(blend.group) + blend.later_share,
                static_cast<double>(c.group) + c.later_share, 1e-12)
        << c.window << ", " << c.step;
    EXPECT_EQ(blend.later_share == 0, c.later_share == 0) << c.window << ", " << c.step;
  }
}

TEST(BoundarySmoothing, ParametersAreContinuousOverTime) {
  const std::vector<size_t> begins = {0, 3, 4, 20};
  for (const InterpolationMethod method : kMethods) {
    for (const double window : {1.0, 5.0, 50.0}) {
      const BoundaryBlend blend{begins, 22, method, window};
      double before = 0;
      for (double step = 0; step <= 21; step += 1e-3) {
        const StepBlend here = blend.at(step);
        const double place = static_cast<double>(here.group) + here.later_share;
        EXPECT_GE(place, before - 1e-12) << step;
        EXPECT_NEAR(place, before, 0.01) << step;
        before = place;
      }
      EXPECT_EQ(before, 3);
    }
  }
}

TEST(BoundarySmoothing, OneGroupIsConstant) {
  const std::vector<size_t> begins = {0};
  for (const StepBlend& blend : blend_steps({begins, 4, InterpolationMethod::Cubic, 5})) {
    EXPECT_EQ(blend, (StepBlend{0, 0}));
  }
  EXPECT_EQ(expand_biases(std::vector<float>{1, 2}, 2, std::vector<StepBlend>(2)),
            (std::vector<float>{1, 2, 1, 2}));
  EXPECT_EQ(expand_clips(std::vector<double>{0.7}, std::vector<StepBlend>(1)),
            std::vector<double>{0.7});
}

TEST(BoundarySmoothing, BiasesAreInterpolatedLinearly) {
  const std::vector<StepBlend> blends = {{0, 0}, {0, 0.25}, {1, 0}};
  EXPECT_EQ(expand_biases(std::vector<float>{0, 8, 4, 16}, 2, blends),
            (std::vector<float>{0, 8, 1, 10, 4, 16}));
}

TEST(BoundarySmoothing, RangesAndClipsAreInterpolatedInLogarithmsOfWidths) {
  const std::vector<StepBlend> blends = {{0, 0}, {0, 0.5}, {1, 0}};
  const std::vector<ValueRange> ranges =
      expand_ranges(std::vector<ValueRange>{{-1, 1}, {-5, 3}}, blends);
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0], (ValueRange{-1, 1}));
  EXPECT_NEAR(ranges[1].width(), 4, 1e-12);
  EXPECT_NEAR(ranges[1].centre(), -0.5, 1e-12);
  EXPECT_EQ(ranges[2], (ValueRange{-5, 3}));
  EXPECT_NEAR(expand_clips(std::vector<double>{0.4, 0.9}, blends)[1], 0.6, 1e-12);
}

TEST(BoundarySmoothing, InterpolatedRangesHoldZero) {
  const std::vector<StepBlend> blends = {{0, 0.5}};
  const std::vector<ValueRange> positive = {{0, 1}, {0, 100}}, negative = {{-1, 0}, {-100, 0}};
  EXPECT_EQ(expand_ranges(positive, blends)[0].lo, 0);
  EXPECT_GT(expand_ranges(positive, blends)[0].hi, 1);
  EXPECT_EQ(expand_ranges(negative, blends)[0].hi, 0);
  const std::vector<ValueRange> empty = {{0, 0}, {0, 0}};
  EXPECT_NEAR(expand_ranges(empty, blends)[0].width(), 0, 1e-200);
}

}  // namespace
}  // namespace arrow_quant
