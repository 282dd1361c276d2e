#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "arrow_quant/quant/quantize.h"
#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

using testing::gaussian;
using testing::quantize;
using testing::rows_view;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class T>
void expect_found(std::vector<T> data, DType dtype, size_t index, T bad, double value) {
  constexpr size_t kRows = 5;
  const size_t cols = data.size() / kRows;
  data[index] = bad;
  const RowsView view = {data.data(), dtype, kRows, cols};
  QuantizeScratch scratch;
  const RangeStats scanned = scan_rows(view, BitWidth::Int4, 128, scratch);
  const RangeStats quantized = quantize(view, {}).range;
  for (const RangeStats& range : {scanned, quantized}) {
    ASSERT_TRUE(range.non_finite.has_value());
    EXPECT_EQ(range.non_finite->index, index);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(range.non_finite->value));
    } else {
      EXPECT_EQ(range.non_finite->value, value);
    }
    EXPECT_TRUE(std::isfinite(range.abs_max));
  }
}

TEST(RangeStats, TheFirstNonFiniteWeightIsNamedInEveryType) {
  constexpr size_t kCount = 5 * 5003;
  for (const size_t index : {size_t{0}, size_t{127}, size_t{5002}, size_t{5003}, kCount - 1}) {
    expect_found<float>(std::vector<float>(kCount, 1.0f), DType::F32, index, NAN, NAN);
    expect_found<float>(std::vector<float>(kCount, 1.0f), DType::F32, index, -kInfinity,
                        -kInfinity);
    expect_found<double>(std::vector<double>(kCount, 1.0), DType::F64, index, 1e300, 1e300);
    expect_found<double>(std::vector<double>(kCount, 1.0), DType::F64, index, NAN, NAN);
    expect_found<uint16_t>(std::vector<uint16_t>(kCount, 0x3F80), DType::BF16, index, 0xFF80,
                           -kInfinity);
    expect_found<uint16_t>(std::vector<uint16_t>(kCount, 0x3C00), DType::F16, index, 0x7C00,
                           kInfinity);
    expect_found<uint16_t>(std::vector<uint16_t>(kCount, 0x3C00), DType::F16, index, 0x7C01, NAN);
    expect_found<uint8_t>(std::vector<uint8_t>(kCount, 0x38), DType::F8_E4M3, index, 0xFF, NAN);
    expect_found<uint8_t>(std::vector<uint8_t>(kCount, 0x3C), DType::F8_E5M2, index, 0x7C,
                          kInfinity);
    expect_found<uint8_t>(std::vector<uint8_t>(kCount, 0x3C), DType::F8_E5M2, index, 0x7F, NAN);
  }
}

TEST(RangeStats, TheEarliestOfSeveralIsReported) {
  std::vector<float> x(3 * 300, 1.0f);
  x[299] = kInfinity;  // in the short group at the end of row 0
  x[300] = NAN;
  QuantizeScratch scratch;
  EXPECT_EQ(scan_rows(rows_view(x, 3), BitWidth::Int4, 128, scratch).non_finite->index, 299u);
}

TEST(RangeStats, E4M3HasNoInfinity) {
  const std::vector<uint8_t> largest(64, 0x7E);  // 448
  QuantizeScratch scratch;
  const RangeStats range =
      scan_rows({largest.data(), DType::F8_E4M3, 1, 64}, BitWidth::Int4, 64, scratch);
  EXPECT_FALSE(range.non_finite.has_value());
  EXPECT_EQ(range.abs_max, 448.0f);
}

TEST(RangeStats, FiniteWeightsBesideANonFiniteOneCount) {
  std::vector<float> x = {1.0f, NAN, -3.0f, kInfinity, 0.0f};
  QuantizeScratch scratch;
  const RangeStats range = scan_rows(rows_view(x, 1), BitWidth::Int4, 32, scratch);
  EXPECT_EQ(range.abs_max, 3.0f);
  EXPECT_EQ(range.min_scale, 4.0f / 15.0f);
}

TEST(RangeStats, QuantizingLearnsWhatAScanLearns) {
  const std::vector<float> x = gaussian(7 * 1000, 0.02f, 1);
  QuantizeScratch scratch;
  for (const BitWidth width : {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8}) {
    const RangeStats scanned = scan_rows(rows_view(x, 7), width, 128, scratch);
    const RangeStats quantized = quantize(rows_view(x, 7), {width}).range;
    EXPECT_EQ(scanned.abs_max, quantized.abs_max);
    EXPECT_EQ(scanned.min_scale, quantized.min_scale);
    EXPECT_FALSE(quantized.non_finite.has_value());
  }
}

TEST(RangeStats, MergeShiftsTheIndexAndKeepsTheFirst) {
  RangeStats stats = {1.0f, 0.5f, std::nullopt};
  stats.merge({3.0f, 0.25f, RangeStats::NonFinite{7, 1e300}}, 100);
  stats.merge({2.0f, 0.75f, RangeStats::NonFinite{1, 1e301}}, 200);
  EXPECT_EQ(stats.abs_max, 3.0f);
  EXPECT_EQ(stats.min_scale, 0.25f);
  EXPECT_EQ(stats.non_finite->index, 107u);
  EXPECT_EQ(stats.non_finite->value, 1e300);
}

TEST(TensorScale, IsOneWhereFp16HoldsTheParameters) {
  EXPECT_EQ(choose_tensor_scale({0.1f, 0.001f, {}}), 1.0f);
  EXPECT_EQ(choose_tensor_scale({32768.0f, 1.0f, {}}), 1.0f);
  EXPECT_EQ(choose_tensor_scale({0.0f, kInfinity, {}}), 1.0f);
}

TEST(TensorScale, ElseBringsTheLargestWeightJustBelowFp16s) {
  struct Case {
    float abs_max;
    float min_scale;
  };
  for (const Case& c : {Case{1e-3f, 1e-5f}, Case{1e-30f, 1e-32f}, Case{1e6f, 1e3f},
                        Case{3.4e38f, 1e37f}, Case{1.5f, 1e-6f}, Case{1e-37f, 1e-39f}}) {
    const float scale = choose_tensor_scale({c.abs_max, c.min_scale, {}});
    int exponent;
    EXPECT_EQ(std::frexp(scale, &exponent), 0.5f) << "not a power of two";
    EXPECT_GE(c.abs_max / scale, c.abs_max < 1e-33f ? 0.0f : 16384.0f);
    EXPECT_LT(c.abs_max / scale, 32768.0f);
  }
}

}  // namespace
}  // namespace arrow_quant
