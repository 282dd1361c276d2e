#include "arrow_quant/quant/compensate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

std::vector<float> power_of(const std::vector<float>& x, size_t cols) {
  std::vector<float> power(cols);
  for (size_t i = 0; i < x.size(); ++i) power[i % cols] += x[i] * x[i];
  return power;
}

testing::Quantized quantize_with(const Recipe& recipe, const InputPower& inputs,
                                 const RowsView& source, const QuantizeSpec& spec,
                                 size_t rows_per_call = SIZE_MAX, float tensor_scale = 1.0f) {
  testing::Quantized q;
  const size_t row_bytes = packed_row_bytes(source.cols, spec.bit_width);
  const size_t groups = groups_per_row(source.cols, spec.group_size);
  q.codes.resize(source.rows * row_bytes);
  q.scales.resize(source.rows * groups);
  q.offsets.resize(source.rows * groups);
  CompensateScratch scratch;
  for (size_t row = 0; row < source.rows; row += std::min(rows_per_call, source.rows - row)) {
    RowsView part = source;
    part.data = static_cast<const float*>(source.data) + row * source.cols;
    part.rows = std::min(rows_per_call, source.rows - row);
    quantize_rows_with(recipe, inputs, part, spec, tensor_scale,
                       {q.codes.data() + row * row_bytes, row_bytes, q.scales.data() + row * groups,
                        q.offsets.data() + row * groups, groups},
                       q.error, q.range, scratch);
  }
  q.restored.resize(source.rows * source.cols);
  dequantize_rows({q.codes.data(), row_bytes, q.scales.data(), q.offsets.data(), groups,
                   source.rows, source.cols, spec.bit_width, spec.group_size, tensor_scale},
                  DType::F32, q.restored.data(), scratch.rows);
  return q;
}

// Σ‖X·(w − ŵ)‖² over the rows of a weight.
double output_error(const std::vector<float>& x, const std::vector<float>& w,
                    const std::vector<float>& restored, size_t cols) {
  double total = 0;
  for (size_t o = 0; o < w.size() / cols; ++o) {
    for (size_t r = 0; r < x.size() / cols; ++r) {
      double y = 0;
      for (size_t c = 0; c < cols; ++c) {
        y += static_cast<double>(x[r * cols + c]) * (w[o * cols + c] - restored[o * cols + c]);
      }
      total += y * y;
    }
  }
  return total;
}

double weighted_error(const std::vector<float>& power, const std::vector<float>& w,
                      const std::vector<float>& restored) {
  double total = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double e = static_cast<double>(w[i]) - restored[i];
    total += power[i % power.size()] * e * e * std::abs(e);
  }
  return total;
}

struct Case {
  BitWidth width;
  size_t rows, cols, group_size;
};
const Case kCases[] = {
    {BitWidth::Int4, 64, 256, 64},
    {BitWidth::Int2, 70, 200, 64},  // a short last group, a panel of six rows
    {BitWidth::Int4, 3, 130, 128},  // a block of two columns
    {BitWidth::Int2, 65, 40, 256},  // a group longer than the row
};

class Compensate : public ::testing::TestWithParam<Case> {
 protected:
  Compensate()
      : w(testing::heavy_tailed(GetParam().rows * GetParam().cols, 0.05f, 5)),
        x(testing::mixed_inputs(4 * GetParam().cols, GetParam().cols, 7)),
        power(power_of(x, GetParam().cols)),
        factor(*factorize(testing::gram_triangle(x, GetParam().cols), GetParam().cols)) {
    spec.bit_width = GetParam().width;
    spec.group_size = GetParam().group_size;
  }
  RowsView source() const { return testing::rows_view(w, GetParam().rows); }
  InputPower inputs() const { return {power, &factor}; }

  std::vector<float> w, x, power;
  SweepFactor factor;
  QuantizeSpec spec;
};
INSTANTIATE_TEST_SUITE_P(Shapes, Compensate, ::testing::ValuesIn(kCases));

TEST_P(Compensate, LowersTheErrorOfTheLayersOutput) {
  const size_t cols = GetParam().cols;
  const double plain =
      output_error(x, w, quantize_with({}, inputs(), source(), spec).restored, cols);
  const double compensated =
      output_error(x, w, quantize_with({false, true}, inputs(), source(), spec).restored, cols);
  EXPECT_LT(compensated, 0.8 * plain);
}

TEST_P(Compensate, FitsAGridThatIsNoWorseForTheWeightedError) {
  const double plain =
      weighted_error(power, w, quantize_with({}, inputs(), source(), spec).restored);
  const double weighted =
      weighted_error(power, w, quantize_with({true, false}, inputs(), source(), spec).restored);
  EXPECT_LE(weighted, plain * (1 + 1e-6));
}

TEST_P(Compensate, ReportsTheErrorOfWhatAReaderRestores) {
  for (const Recipe recipe : {Recipe{true, false}, Recipe{false, true}, Recipe{true, true}}) {
    const testing::Quantized q = quantize_with(recipe, inputs(), source(), spec);
    EXPECT_NEAR(q.error.sqnr_db(), testing::measured_sqnr_db(w, q.restored), 1e-6);
  }
}

TEST_P(Compensate, GivesTheSameBytesForAnySplitIntoCalls) {
  for (const Recipe recipe : {Recipe{false, true}, Recipe{true, true}}) {
    const testing::Quantized whole = quantize_with(recipe, inputs(), source(), spec);
    const testing::Quantized split = quantize_with(recipe, inputs(), source(), spec, 17);
    EXPECT_EQ(whole.codes, split.codes);
    EXPECT_EQ(whole.scales, split.scales);
    EXPECT_EQ(whole.offsets, split.offsets);
    EXPECT_EQ(whole.error.error_sq, split.error.error_sq);
  }
}

TEST_P(Compensate, ScalesWithTheTensor) {
  std::vector<float> large = w;
  for (float& v : large) v *= 0x1p20f;
  const RowsView view = testing::rows_view(large, GetParam().rows);
  const testing::Quantized q = quantize_with({true, true}, inputs(), source(), spec);
  const testing::Quantized scaled =
      quantize_with({true, true}, inputs(), view, spec, SIZE_MAX, 0x1p20f);
  EXPECT_EQ(q.codes, scaled.codes);
  EXPECT_EQ(q.scales, scaled.scales);
}

TEST(CompensateEdges, IsPlainQuantizationWithoutSteps) {
  const std::vector<float> w = testing::gaussian(8 * 128, 0.02f, 3);
  const RowsView source = testing::rows_view(w, 8);
  EXPECT_EQ(quantize_with({}, {}, source, {}).codes, testing::quantize(source, {}).codes);
}

TEST(CompensateEdges, NamesAWeightThatIsNotFinite) {
  std::vector<float> w = testing::gaussian(8 * 128, 0.02f, 3);
  w[300] = INFINITY;
  const std::vector<float> power(128, 1.0f);
  const testing::Quantized q =
      quantize_with({true, false}, {power, nullptr}, testing::rows_view(w, 8), {});
  ASSERT_TRUE(q.range.non_finite.has_value());
  EXPECT_EQ(q.range.non_finite->index, 300u);
}

TEST(SweepFactorTest, MultipliesBackToTheInputsProducts) {
  const size_t cols = 150;  // three blocks, the last one short
  const std::vector<float> x = testing::mixed_inputs(600, cols, 11);
  const std::vector<float> xtx = testing::gram_triangle(x, cols);
  const SweepFactor factor = *factorize(xtx, cols);
  const float* l = factor.l.as<float>().data();
  double trace = 0;
  for (size_t i = 0, at = 0; i < cols; at += cols - i, ++i) trace += xtx[at];
  const double mean = trace / cols;
  for (size_t r = 0; r < cols; ++r) {
    for (size_t c = 0; c <= r; ++c) {
      double sum = 0;
      for (size_t k = 0; k <= c; ++k) sum += static_cast<double>(l[r * cols + k]) * l[c * cols + k];
      const auto [i, j] = std::minmax(factor.order[r], factor.order[c]);
      const size_t at = i * cols - i * (i - 1) / 2 + (j - i);
      const double expected = xtx[at] + (r == c ? 0.01 * mean : 0.0);
      EXPECT_NEAR(sum, expected, 1e-5 * mean);
    }
  }
  for (size_t c = 1; c < cols; ++c) {
    const auto diagonal = [&](size_t i) { return xtx[i * cols - i * (i - 1) / 2]; };
    EXPECT_LE(diagonal(factor.order[c - 1]), diagonal(factor.order[c]));
  }
}

TEST(SweepFactorTest, IsNoneWhereAllInputsAreZero) {
  EXPECT_FALSE(factorize(std::vector<float>(10, 0.0f), 4).has_value());
}

TEST(SweepFactorTest, TakesMoreDampingWhereThereAreFewerRowsThanColumns) {
  EXPECT_TRUE(
      factorize(testing::gram_triangle(testing::mixed_inputs(3, 64, 1), 64), 64).has_value());
}

}  // namespace
}  // namespace arrow_quant
