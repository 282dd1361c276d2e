#include "arrow_quant/diffusion/activation_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arrow_quant/diffusion/diffusion_test_util.h"

namespace arrow_quant {
namespace {

Floats dynamic(const Floats& row, float clip, int bits) {
  Floats values(row.size());
  quantize_dynamic(row, row.size(), clip, bits, values);
  return values;
}

Floats fixed(const Floats& values, const StaticQuantizer& quantizer, int bits) {
  Floats out(values.size());
  quantize_static(values, quantizer, bits, out);
  return out;
}

TEST(ActivationQuantizer, DynamicRowsUseTheirOwnRange) {
  struct Case {
    Floats row;
    float clip;
    int bits;
    Floats expected;
  };
  for (const Case& c : {
           Case{{0, 1, 2, 3}, 1, 2, {0, 1, 2, 3}}, Case{{-3, 0, 1.4f, 12}, 1, 4, {-3, 0, 1, 12}},
           Case{{5, 6, 15}, 1, 4, {5, 6, 15}},               // lo is 0, not 5
           Case{{-15, -6, -1}, 1, 4, {-15, -6, -1}},         // hi is 0
           Case{{0.5f, 1.5f, 2.5f, 3}, 1, 2, {0, 2, 2, 3}},  // halves to even
           Case{{0, 1, 4, 6}, 0.5f, 2, {0, 1, 3, 3}},        // what is clipped takes the last code
           Case{{0, 0, 0, 0}, 1, 4, {0, 0, 0, 0}},
           Case{{0, 1e-45f}, 1, 8, {0, 0}},  // a scale that underflows
       }) {
    EXPECT_EQ(dynamic(c.row, c.clip, c.bits), c.expected) << c.row[0] << ", " << c.clip;
  }
}

TEST(ActivationQuantizer, RowsDoNotTouchEachOther) {
  const Floats rows = {0, 1, 2, 3, 0, 100, 200, 300};
  Floats values(rows.size());
  quantize_dynamic(rows, 4, 1, 2, values);
  EXPECT_EQ(values, rows);
}

TEST(ActivationQuantizer, StaticQuantizersHoldZeroExactly) {
  struct Case {
    ValueRange range;
    int bits;
    StaticQuantizer expected;
  };
  for (const Case& c :
       {Case{{0, 15}, 4, {1, 0}}, Case{{-15, 0}, 4, {1, 15}}, Case{{-3, 12}, 4, {1, 3}},
        Case{{5, 30}, 4, {2, 0}}, Case{{-30, -5}, 4, {2, 15}}, Case{{-1, 254}, 8, {1, 1}},
        Case{{-2.5, 12.5}, 4, {1, 2}}, Case{{0, 0}, 4, {1, 0}}}) {
    const StaticQuantizer quantizer = static_quantizer(c.range, c.bits);
    EXPECT_EQ(quantizer, c.expected) << c.range.lo << " … " << c.range.hi;
    EXPECT_EQ(fixed({0}, quantizer, c.bits), Floats{0});
  }
}

TEST(ActivationQuantizer, StaticValuesAreRoundedThenClamped) {
  const StaticQuantizer quantizer = {0.5f, 3};
  EXPECT_EQ(fixed({-9, -1.5f, -0.26f, 0.25f, 0.75f, 6, 7, 1e30f, -1e30f}, quantizer, 4),
            (Floats{-1.5f, -1.5f, -0.5f, 0, 1, 6, 6, 6, -1.5f}));
}

TEST(ActivationQuantizer, ValuesAreThoseOfTheFormulasWithRint) {
  const Floats rows = bell_values(64 * 33, 5);
  for (const int bits : {2, 4, 8}) {
    const auto most = static_cast<float>((1 << bits) - 1);
    const StaticQuantizer quantizer = static_quantizer({-2.7, 3.1}, bits);
    const auto zero = static_cast<float>(quantizer.zero_point);
    const Floats fixed_values = fixed(rows, quantizer, bits);
    Floats values(rows.size());
    quantize_dynamic(rows, 64, 0.85f, bits, values);
    for (size_t r = 0; r < 33; ++r) {
      const auto [least, largest] =
          std::minmax_element(rows.begin() + r * 64, rows.begin() + (r + 1) * 64);
      const float lo = 0.85f * std::min(*least, 0.0f), hi = 0.85f * std::max(*largest, 0.0f);
      const float scale = (hi - lo) / most;
      for (size_t i = r * 64; i < (r + 1) * 64; ++i) {
        const float code = std::clamp(std::rint((rows[i] - lo) / scale), 0.0f, most);
        ASSERT_EQ(values[i], code * scale + lo) << bits << ", " << i;
        const float fixed_code =
            std::clamp(std::rint(rows[i] / quantizer.scale) + zero, 0.0f, most);
        ASSERT_EQ(fixed_values[i], quantizer.scale * (fixed_code - zero)) << bits << ", " << i;
      }
    }
  }
}

TEST(ActivationQuantizer, ValuesMayBeWrittenOverTheInputs) {
  const Floats rows = bell_values(256, 8);
  Floats in_place = rows;
  quantize_dynamic(in_place, 64, 1, 4, in_place);
  Floats apart(rows.size());
  quantize_dynamic(rows, 64, 1, 4, apart);
  EXPECT_EQ(in_place, apart);
}

TEST(ActivationQuantizer, ErrorsAreWhatTheValuesChange) {
  Floats rows = bell_values(3 * 50, 9);
  std::fill_n(rows.begin() + 50, 50, 0.0f);  // a row without width
  const StaticQuantizer quantizer = static_quantizer({-1.7, 2.1}, 4);
  Floats errors(rows.size()), fixed_errors(rows.size()), values(rows.size());
  dynamic_errors(rows, 50, 0.9f, 4, errors);
  static_errors(rows, quantizer, 4, fixed_errors);
  quantize_dynamic(rows, 50, 0.9f, 4, values);
  const Floats fixed_values = fixed(rows, quantizer, 4);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(errors[i], values[i] - rows[i]) << i;
    EXPECT_EQ(fixed_errors[i], fixed_values[i] - rows[i]) << i;
  }
}

}  // namespace
}  // namespace arrow_quant
