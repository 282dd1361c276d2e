#include "arrow_quant/diffusion/transition_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arrow_quant/diffusion/activation_quantizer.h"
#include "arrow_quant/diffusion/diffusion_test_util.h"

namespace arrow_quant {
namespace {

constexpr size_t kCols = 24;

// Both derivatives against central differences, whose steps are so small that no code flips.
template <class Function>
void expect_gradient(const Function& f, const Coordinates& u, double h, double relative) {
  const Slope slope = f(u);
  for (size_t i = 0; i < 2; ++i) {
    Coordinates less = u, more = u;
    less[i] -= h;
    more[i] += h;
    const double expected = (f(more).value - f(less).value) / (2 * h);
    const double size = std::max({std::abs(slope.gradient[0]), std::abs(slope.gradient[1]), 1e-3});
    EXPECT_NEAR(slope.gradient[i], expected, relative * size) << "coordinate " << i;
  }
}

TEST(TransitionError, CoordinatesAreRangesAndClips) {
  const Coordinates u = range_coordinates({-1, 3}, 2);
  EXPECT_DOUBLE_EQ(u[0], std::log(4));
  EXPECT_DOUBLE_EQ(u[1], 0.5);
  EXPECT_NEAR(range_at(u, 2).lo, -1, 1e-12);
  EXPECT_NEAR(range_at(u, 2).hi, 3, 1e-12);
  EXPECT_NEAR(clip_at(clip_coordinates(0.7)), 0.7, 1e-12);
}

TEST(TransitionError, RowErrorsHaveTheSlopesOfFiniteDifferences) {
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols * 3, 1, -0.8);
  for (const int bits : {2, 4, 8}) {
    const TransitionRows sample = {rows, rows, &sketch, bits};
    const auto fixed = static_row_error(sample, 1.7);
    for (const ValueRange& range : {ValueRange{-0.513, 0.871}, ValueRange{-0.9, 1.3}}) {
      expect_gradient([&](const Coordinates& u) { return fixed->error(u); },
                      range_coordinates(range, 1.7), 5e-6, 2e-2);
    }
    const auto dynamic = dynamic_row_error(sample);
    for (const double clip : {0.613, 0.9137}) {
      expect_gradient(
          [&](const Coordinates& u) {
            return dynamic->error({u[0], 0});
          },
          clip_coordinates(clip), 5e-6, 2e-2);
    }
  }
}

TEST(TransitionError, HistogramErrorsAndTheUseOfCodesHaveTheSlopesOfFiniteDifferences) {
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols * 200, 2, -0.8);
  for (const int bits : {2, 4}) {
    const TransitionRows sample = {rows, rows, &sketch, bits};
    const auto histogram =
        histogram_error({ValueHistogram::of(rows), ValueHistogram::of(rows), 200, bits}, 1.7);
    const Coordinates u = range_coordinates({-0.513, 0.871}, 1.7);
    expect_gradient([&](const Coordinates& v) { return histogram->error(v); }, u, 1e-7, 1e-3);
    expect_gradient([&](const Coordinates& v) { return histogram->code_use(v); }, u, 1e-7, 1e-3);
    const auto fixed = static_row_error(sample, 1.7);
    expect_gradient([&](const Coordinates& v) { return fixed->code_use(v); }, u, 1e-7, 1e-3);
    const auto dynamic = dynamic_row_error(sample);
    expect_gradient(
        [&](const Coordinates& v) {
          return dynamic->code_use({v[0], 0});
        },
        clip_coordinates(0.6131), 1e-7, 1e-3);
  }
}

TEST(TransitionError, ErrorsAreMeansOverRowsOfTheErrorOfOutputs) {
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols * 6, 3, -0.8),
               others = uniform_values(kCols * 5, 4, -0.8);
  const TransitionRows sample = {rows, others, &sketch, 4};
  const auto dynamic = dynamic_row_error(sample);
  Floats values(rows.size());
  quantize_dynamic(rows, kCols, 0.8f, 4, values);
  EXPECT_NEAR(dynamic->error(clip_coordinates(0.8)).value, output_error(rows, values, sketch) / 6,
              1e-6);
  values.resize(others.size());
  quantize_dynamic(others, kCols, 0.8f, 4, values);
  EXPECT_NEAR(dynamic->held_out_error(clip_coordinates(0.8)).value(),
              output_error(others, values, sketch) / 5, 1e-12);
  quantize_static(others, static_quantizer({-0.6, 1}, 4), 4, values);
  EXPECT_NEAR(static_row_error(sample, 2)->held_out_error(range_coordinates({-0.6, 1}, 2)).value(),
              output_error(others, values, sketch) / 5, 1e-12);
}

TEST(TransitionError, HeldOutHistogramsAreQuantizedWithAnIntegerZeroPoint) {
  const ValueHistogram values({-0.5, 0.5, 1.5, 2.5, 3.5}, {1, 1, 1, 1});  // 0, 1, 2, 3
  const auto error = histogram_error({values, values, 4, 2}, 3);
  EXPECT_NEAR(error->held_out_error(range_coordinates({-0.2, 2.8}, 3)).value(), 0, 1e-12);
  EXPECT_GT(error->error(range_coordinates({-0.2, 2.8}, 3)).value, 0.03);
  EXPECT_FALSE(histogram_error({values, {}, 4, 2}, 3)->held_out_error({0, 0}));
}

TEST(TransitionError, RangesHoldZeroAndClipsOnlyNarrow) {
  const WeightSketch sketch = any_sketch(kCols);
  const Floats rows = uniform_values(kCols, 5, -0.8);
  const TransitionRows sample = {rows, {}, &sketch, 4};
  const auto fixed = static_row_error(sample, 2);
  const Coordinates outside = range_coordinates({1, 3}, 2);
  EXPECT_NEAR(range_at(fixed->allowed(outside), 2).lo, 0, 1e-12);
  const Coordinates inside = range_coordinates({-1, 3}, 2);
  EXPECT_EQ(fixed->allowed(inside), inside);
  EXPECT_FALSE(fixed->held_out_error(inside));
  const auto dynamic = dynamic_row_error(sample);
  EXPECT_EQ(clip_at(dynamic->allowed({0.3, 0.1})), 1);
  EXPECT_NEAR(clip_at(dynamic->allowed({-9, 0})), 0.05, 1e-12);
}

TEST(TransitionError, RowsOfZerosCostNothing) {
  const WeightSketch sketch = any_sketch(kCols);
  const Floats zeros(kCols * 2);
  const TransitionRows sample = {zeros, zeros, &sketch, 4};
  EXPECT_EQ(dynamic_row_error(sample)->error({0, 0}).value, 0);
  EXPECT_EQ(dynamic_row_error(sample)->held_out_error({0, 0}), 0);
  EXPECT_EQ(static_row_error(sample, 1)->held_out_error({0, 0}), 0);
}

}  // namespace
}  // namespace arrow_quant
