#include "arrow_quant/kernels/panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/reference.h"
#include "arrow_quant/kernels/target_test_util.h"

namespace arrow_quant::kernels {
namespace {

using PanelsTest = TargetTest;
INSTANTIATE_TEST_SUITE_P(AllTargets, PanelsTest, testing::ValuesIn(targets_of_this_machine()),
                         target_name);

std::vector<float> gaussian(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& v : x) v = normal(random);
  return x;
}

TEST_P(PanelsTest, MultiplicationAddsProductsInTheOrderOfTheDepth) {
  struct Case {
    size_t rows, depth, cols;
    bool transposed;  // A is stored by columns
  };
  for (const Case& c : {Case{1, 1, 1, false}, Case{4, 64, 64, false}, Case{7, 13, 37, true},
                        Case{65, 130, 96, false}, Case{3, 0, 20, false}}) {
    const std::vector<float> a = gaussian(c.rows * c.depth, 1);
    const std::vector<float> b = gaussian(c.depth * c.cols, 2);
    std::vector<float> product = gaussian(c.rows * c.cols, 3);
    const size_t row_stride = c.transposed ? 1 : c.depth;
    const size_t col_stride = c.transposed ? c.rows : 1;
    std::vector<float> expected = product;
    for (size_t r = 0; r < c.rows; ++r) {
      for (size_t j = 0; j < c.cols; ++j) {
        for (size_t k = 0; k < c.depth; ++k) {
          const float term = a[r * row_stride + k * col_stride] * b[k * c.cols + j];
          expected[r * c.cols + j] += term;
        }
      }
    }
    multiply_add({.a = a.data(),
                  .a_row_stride = row_stride,
                  .a_col_stride = col_stride,
                  .b = b.data(),
                  .b_stride = c.cols,
                  .c = product.data(),
                  .c_stride = c.cols,
                  .rows = c.rows,
                  .depth = c.depth,
                  .cols = c.cols});
    EXPECT_EQ(product, expected) << c.rows << " x " << c.depth << " x " << c.cols;
  }
}

TEST_P(PanelsTest, ASweepPassesEachErrorOnToTheColumnsBeforeIt) {
  constexpr size_t kCols = 37;
  const std::vector<float> w = gaussian(kCols * kPanelRows, 4);
  const std::vector<float> l = gaussian(kCols * kCols, 5);
  const std::vector<float> inverse_diagonal = gaussian(kCols, 6);
  std::vector<uint32_t> group(kCols);
  for (size_t c = 0; c < kCols; ++c) group[c] = static_cast<uint32_t>(c % 3);
  std::vector<float> scales = gaussian(3 * kPanelRows, 7);
  for (float& s : scales) s = 0.1f + std::abs(s);
  const std::vector<float> offsets = gaussian(3 * kPanelRows, 8);
  for (const int bits : {2, 4}) {
    for (const bool passes_on : {true, false}) {
      std::vector<float> carried = gaussian(kCols * kPanelRows, 9);
      std::vector<float> expected_carried = carried;
      std::vector<float> error(kCols * kPanelRows), expected_error = error;
      std::vector<uint8_t> codes(kCols * kPanelRows), expected_codes = codes;
      const float highest = static_cast<float>((1 << bits) - 1);
      for (size_t c = kCols; c-- > 0;) {
        for (size_t r = 0; r < kPanelRows; ++r) {
          const size_t at = c * kPanelRows + r;
          const float step = expected_carried[at] * inverse_diagonal[c];
          const float target = passes_on ? w[at] + step : w[at];
          const float scale = scales[group[c] * kPanelRows + r];
          const float offset = offsets[group[c] * kPanelRows + r];
          const float t = (target - offset) * (1.0f / scale);
          const float code = std::nearbyint(std::min(std::max(t, 0.0f), highest));
          const float product = scale * code;
          expected_codes[at] = static_cast<uint8_t>(code);
          expected_error[at] = w[at] - (product + offset);
          for (size_t j = 0; passes_on && j < c; ++j) {
            const float term = expected_error[at] * l[c * kCols + j];
            expected_carried[j * kPanelRows + r] += term;
          }
        }
      }
      sweep({.w = w.data(),
             .carried = carried.data(),
             .error = error.data(),
             .codes = codes.data(),
             .l = passes_on ? l.data() : nullptr,
             .l_stride = kCols,
             .inverse_diagonal = inverse_diagonal.data(),
             .group = group.data(),
             .scales = scales.data(),
             .offsets = offsets.data(),
             .cols = kCols,
             .bits = bits});
      EXPECT_EQ(codes, expected_codes);
      EXPECT_EQ(error, expected_error);
      EXPECT_EQ(carried, expected_carried);
    }
  }
}

// Σ importance · |w − nearest|³ of each lane, in double.
std::vector<double> losses(const std::vector<float>& w, const std::vector<float>& importance,
                           const std::vector<float>& scales, const std::vector<float>& offsets,
                           int bits) {
  std::vector<double> sums(kPanelRows);
  for (size_t i = 0; i < w.size(); ++i) {
    const size_t lane = i % kPanelRows;
    const double t = (static_cast<double>(w[i]) - offsets[lane]) / scales[lane];
    const double code = std::nearbyint(std::clamp(t, 0.0, double((1 << bits) - 1)));
    const double d = static_cast<double>(w[i]) - (scales[lane] * code + offsets[lane]);
    sums[lane] += importance[i / kPanelRows] * d * d * std::abs(d);
  }
  return sums;
}

TEST_P(PanelsTest, AWeightedFitIsNoWorseThanItsStartAndMostlyBetter) {
  constexpr size_t kCols = 64;
  const std::vector<float> w = gaussian(kCols * kPanelRows, 10);
  std::vector<float> importance = gaussian(kCols, 11);
  for (float& h : importance) h = h * h * h * h;
  for (const int bits : {2, 4}) {
    std::vector<float> scales(kPanelRows), offsets(kPanelRows);
    for (size_t r = 0; r < kPanelRows; ++r) {
      float lo = w[r], hi = w[r];
      for (size_t c = 0; c < kCols; ++c) {
        lo = std::min(lo, w[c * kPanelRows + r]);
        hi = std::max(hi, w[c * kPanelRows + r]);
      }
      const auto params = reference::params_from_range(bits, lo, hi);
      scales[r] = params.scale;
      offsets[r] = params.offset;
    }
    const std::vector<double> before = losses(w, importance, scales, offsets, bits);
    fit_weighted({.w = w.data(),
                  .importance = importance.data(),
                  .cols = kCols,
                  .bits = bits,
                  .scales = scales.data(),
                  .offsets = offsets.data()});
    const std::vector<double> after = losses(w, importance, scales, offsets, bits);
    size_t better = 0;
    for (size_t r = 0; r < kPanelRows; ++r) {
      EXPECT_LE(after[r], before[r] * (1 + 1e-5));
      better += after[r] < 0.9 * before[r];
      EXPECT_EQ(scales[r], reference::round_to_half(scales[r]));
      EXPECT_EQ(offsets[r], reference::round_to_half(offsets[r]));
    }
    EXPECT_GT(better, kPanelRows / 2);
  }
}

TEST_P(PanelsTest, AWeightedFitGivesTheSameParametersOnEveryInstructionSet) {
  constexpr size_t kCols = 48;
  const std::vector<float> w = gaussian(kCols * kPanelRows, 12);
  std::vector<float> importance = gaussian(kCols, 13);
  for (float& h : importance) h = h * h;
  std::vector<float> scales(kPanelRows, 0.25f), offsets(kPanelRows, -2.0f);
  fit_weighted({.w = w.data(),
                .importance = importance.data(),
                .cols = kCols,
                .bits = 4,
                .scales = scales.data(),
                .offsets = offsets.data()});
  static const std::vector<float> first = scales;  // of the target that ran first
  EXPECT_EQ(scales, first);
}

}  // namespace
}  // namespace arrow_quant::kernels
