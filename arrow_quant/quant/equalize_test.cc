#include "arrow_quant/quant/equalize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

constexpr size_t kRows = 64, kCols = 256;

// Gaussian weights whose columns have sizes 2^-spread … 2^spread.
std::vector<float> columns_of_sizes(float spread) {
  std::vector<float> w = testing::gaussian(kRows * kCols, 0.02f, 1);
  for (size_t i = 0; i < w.size(); ++i) {
    const auto column = static_cast<float>(i % kCols * 37 % kCols) / kCols;
    w[i] *= std::exp2(spread * (2 * column - 1));
  }
  return w;
}

double gain_of(const std::vector<float>& w, BitWidth width) {
  TrialScratch scratch;
  const RowsView rows = testing::rows_view(w, kRows);
  QuantizeSpec spec;
  spec.bit_width = width;
  spec.group_size = 64;
  return sampled_gain_db(rows, spec, 1.0f, scratch);
}

TEST(Equalize, GainsWhereColumnsDifferInSize) {
  EXPECT_GT(gain_of(columns_of_sizes(2), BitWidth::Int4), 1.0);
  EXPECT_GT(gain_of(columns_of_sizes(2), BitWidth::Int2), 1.0);
}

TEST(Equalize, GainsNothingThatCountsWhereTheyAreAlike) {
  for (const BitWidth width : {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8}) {
    EXPECT_LT(gain_of(columns_of_sizes(0), width), 0.2);
  }
}

TEST(Equalize, ScalesColumnsToTheSameSize) {
  TrialScratch scratch;
  const std::vector<float> w = {8, 1, 0, 8, -1, 0};
  const std::vector<float> scale = equalizing_scale({w.data(), DType::F32, 2, 3}, scratch);
  EXPECT_FLOAT_EQ(scale[0] * 8, scale[1] * 1);
  EXPECT_GE(scale[0] * scale[1], 0.25f);
  EXPECT_LE(scale[0] * scale[1], 4.0f);
  EXPECT_EQ(scale[2], 1.0f);
}

TEST(Equalize, AsksForMoreWhereTheScaleCostsMore) {
  EXPECT_NEAR(needed_gain_db(1 << 20), 0.2, 1e-3);
  EXPECT_NEAR(needed_gain_db(64), 0.2 + 3.01, 1e-9);
}

}  // namespace
}  // namespace arrow_quant
