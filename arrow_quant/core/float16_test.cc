#include "arrow_quant/core/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace arrow_quant {
namespace {

TEST(Float16, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (uint32_t half = 0; half <= 0xFFFF; ++half) {
    const float wide = half_to_float(static_cast<uint16_t>(half));
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(wide))));
    } else {
      EXPECT_EQ(float_to_half(wide), half);
    }
  }
}

TEST(Float16, MidpointsBetweenNeighboursGoToTheEvenOne) {
  for (uint32_t half = 0; half < 0x7BFF; ++half) {
    const float low = half_to_float(static_cast<uint16_t>(half));
    const float high = half_to_float(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(float_to_half(middle), (half & 1) ? half + 1 : half) << half;
    EXPECT_EQ(float_to_half(std::nextafter(middle, low)), half);
    EXPECT_EQ(float_to_half(std::nextafter(middle, high)), half + 1);
  }
}

TEST(Float16, LargeValuesBecomeInfinity) {
  EXPECT_EQ(float_to_half(65504.0f), 0x7BFF);
  EXPECT_EQ(float_to_half(65519.99f), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0f), 0x7C00);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::max()), 0xFC00);
}

}  // namespace
}  // namespace arrow_quant
