#include "arrow_quant/quant/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace arrow_quant {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ErrorStats, NothingIsEqualToNothing) {
  EXPECT_EQ(ErrorStats().cosine(), 1.0);
  EXPECT_EQ(ErrorStats().sqnr_db(), kInfinity);
}

TEST(ErrorStats, ZeroAgainstSomethingIsAllError) {
  const ErrorStats original_zero = {0, 0, 4, 4, 2};
  EXPECT_EQ(original_zero.cosine(), 0.0);
  EXPECT_EQ(original_zero.sqnr_db(), -kInfinity);
  const ErrorStats restored_zero = {0, 4, 0, 4, 2};
  EXPECT_EQ(restored_zero.cosine(), 0.0);
  EXPECT_EQ(restored_zero.sqnr_db(), 0.0);
}

TEST(ErrorStats, FiguresFollowTheirFormulas) {
  // x = (3, 4), y = (3, 3)
  const ErrorStats stats = {21, 25, 18, 1, 1};
  EXPECT_DOUBLE_EQ(stats.cosine(), 21 / std::sqrt(25.0 * 18.0));
  EXPECT_DOUBLE_EQ(stats.sqnr_db(), 10 * std::log10(25.0));
}

TEST(ErrorStats, SumsOfTinyAndHugeWeightsStayFinite) {
  const ErrorStats tiny = {1e-200, 1e-200, 1e-200, 1e-204, 1e-102};
  EXPECT_NEAR(tiny.cosine(), 1.0, 1e-12);
  EXPECT_NEAR(tiny.sqnr_db(), 40.0, 1e-9);
  const ErrorStats huge = {1e200, 1e200, 1e200, 1e196, 1e98};
  EXPECT_NEAR(huge.cosine(), 1.0, 1e-12);
  EXPECT_NEAR(huge.sqnr_db(), 40.0, 1e-9);
}

TEST(ErrorStats, RoundingCannotPushTheCosinePastOne) {
  const ErrorStats stats = {1.0 + 1e-15, 1, 1, 0, 0};
  EXPECT_EQ(stats.cosine(), 1.0);
}

TEST(ErrorStats, MergeAddsSumsAndKeepsTheLargestError) {
  ErrorStats stats = {1, 2, 3, 4, 5};
  stats.merge({10, 20, 30, 40, 3});
  EXPECT_EQ(stats.dot, 11);
  EXPECT_EQ(stats.original_sq, 22);
  EXPECT_EQ(stats.restored_sq, 33);
  EXPECT_EQ(stats.error_sq, 44);
  EXPECT_EQ(stats.max_abs_error, 5);
}

}  // namespace
}  // namespace arrow_quant
