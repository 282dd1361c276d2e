#include "arrow_quant/quant/quantize.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "arrow_quant/core/float16.h"
#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

using testing::gaussian;
using testing::heavy_tailed;
using testing::quantize;
using testing::Quantized;
using testing::rows_view;

constexpr BitWidth kWidths[] = {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8};
constexpr QuantMethod kMethods[] = {QuantMethod::Rtn, QuantMethod::Mse};

void expect_valid_params(const Quantized& q) {
  for (const uint16_t scale : q.scales) {
    EXPECT_GT(half_to_float(scale), 0.0f);
    EXPECT_LT(half_to_float(scale), 65536.0f);
  }
  for (const uint16_t offset : q.offsets) EXPECT_LT(std::abs(half_to_float(offset)), 65536.0f);
}

void expect_same(const Quantized& a, const Quantized& b) {
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.error.dot, b.error.dot);
  EXPECT_EQ(a.error.original_sq, b.error.original_sq);
  EXPECT_EQ(a.error.restored_sq, b.error.restored_sq);
  EXPECT_EQ(a.error.error_sq, b.error.error_sq);
  EXPECT_EQ(a.error.max_abs_error, b.error.max_abs_error);
  EXPECT_EQ(a.range.abs_max, b.range.abs_max);
  EXPECT_EQ(a.range.min_scale, b.range.min_scale);
}

TEST(Quantize, MethodNamesComeBack) {
  for (const QuantMethod method : kMethods) {
    EXPECT_EQ(parse_quant_method(to_string(method)), method);
  }
  EXPECT_EQ(parse_quant_method("RTN"), std::nullopt);
}

TEST(Quantize, PlainRoundingOfAKnownGroupGivesTheDocumentedBytes) {
  // Minimum −1, step 0.5: codes 0 … 15 twice.
  std::vector<float> x(32);
  for (size_t i = 0; i < x.size(); ++i) x[i] = -1.0f + 0.5f * static_cast<float>(i % 16);
  const Quantized q = quantize(rows_view(x, 1), {BitWidth::Int4, 32, QuantMethod::Rtn, 3.0});
  EXPECT_EQ(half_to_float(q.scales[0]), 0.5f);
  EXPECT_EQ(half_to_float(q.offsets[0]), -1.0f);
  const std::vector<uint8_t> half = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
  std::vector<uint8_t> expected = half;
  expected.insert(expected.end(), half.begin(), half.end());
  EXPECT_EQ(q.codes, expected);
  EXPECT_EQ(q.restored, x);
  EXPECT_EQ(q.error.error_sq, 0.0);
}

TEST(Quantize, EightBitCodesAreSymmetricAndSigned) {
  std::vector<float> x(32, 0.0f);
  x[0] = -127.0f;
  x[1] = 127.0f;
  x[2] = 2.5f;  // to even
  x[3] = -3.0f;
  const Quantized q = quantize(rows_view(x, 1), {BitWidth::Int8, 32, QuantMethod::Rtn, 3.0});
  EXPECT_EQ(half_to_float(q.scales[0]), 1.0f);
  EXPECT_EQ(static_cast<int8_t>(q.codes[0]), -127);
  EXPECT_EQ(static_cast<int8_t>(q.codes[1]), 127);
  EXPECT_EQ(static_cast<int8_t>(q.codes[2]), 2);
  EXPECT_EQ(static_cast<int8_t>(q.codes[3]), -3);
}

TEST(Quantize, AnySplitByRowsGivesTheSameBytesAndSums) {
  for (const size_t cols : {1, 9, 192, 300, 5000}) {
    const size_t rows = 37;
    const std::vector<float> x = heavy_tailed(rows * cols, 0.02f, 1);
    for (const BitWidth width : kWidths) {
      for (const QuantMethod method : kMethods) {
        const QuantizeSpec spec = {width, 128, method, 3.0};
        const Quantized whole = quantize(rows_view(x, rows), spec);
        for (const size_t rows_per_call : {1, 5, 36}) {
          expect_same(quantize(rows_view(x, rows), spec, 1.0f, rows_per_call), whole);
        }
      }
    }
  }
}

TEST(Quantize, PartsOfALongRowThatStartAtMultiplesOf256GiveTheSameBytes) {
  const size_t cols = 3000;
  const std::vector<float> x = gaussian(cols, 0.02f, 2);
  for (const BitWidth width : kWidths) {
    const QuantizeSpec spec = {width, 64, QuantMethod::Mse, 3.0};
    const Quantized whole = quantize(rows_view(x, 1), spec);
    Quantized parts = whole;
    std::fill(parts.codes.begin(), parts.codes.end(), uint8_t{0});
    QuantizeScratch scratch;
    ErrorStats error;
    for (const auto& [start, end] : {std::pair<size_t, size_t>{0, 1024}, {1024, cols}}) {
      RangeStats range;
      quantize_rows({x.data() + start, DType::F32, 1, end - start}, spec, 1.0f,
                    {parts.codes.data() + packed_row_bytes(start, width), 0,
                     parts.scales.data() + start / 64, parts.offsets.data() + start / 64, 0},
                    error, range, scratch);
    }
    EXPECT_EQ(parts.codes, whole.codes);
    EXPECT_EQ(parts.scales, whole.scales);
    EXPECT_EQ(parts.offsets, whole.offsets);
    EXPECT_EQ(error.error_sq, whole.error.error_sq);
  }
}

TEST(Quantize, SourceTypesThatHoldTheSameWeightsGiveTheSameBytes) {
  const size_t rows = 5, cols = 700;
  std::vector<float> x = gaussian(rows * cols, 0.02f, 3);
  std::vector<uint16_t> brain(x.size());
  narrow_from_f32(x.data(), x.size(), DType::BF16, brain.data());
  widen_to_f32(brain.data(), DType::BF16, x.size(), x.data());
  const std::vector<double> wide(x.begin(), x.end());
  std::vector<uint8_t> misaligned(x.size() * sizeof(float) + 1);
  std::memcpy(misaligned.data() + 1, x.data(), x.size() * sizeof(float));
  for (const BitWidth width : kWidths) {
    const QuantizeSpec spec = {width, 128, QuantMethod::Mse, 3.0};
    const Quantized expected = quantize(rows_view(x, rows), spec);
    expect_same(quantize({brain.data(), DType::BF16, rows, cols}, spec), expected);
    expect_same(quantize({wide.data(), DType::F64, rows, cols}, spec), expected);
    expect_same(quantize({misaligned.data() + 1, DType::F32, rows, cols}, spec), expected);
  }
}

TEST(Quantize, AnyShapeIsRestoredWithinHalfAStepAndMeasuredAsItIs) {
  for (const size_t cols : {1, 2, 3, 31, 33, 127, 128, 129, 257, 4097, 40000}) {
    const size_t rows = cols > 4000 ? 2 : 19;
    const std::vector<float> x = gaussian(rows * cols, 0.02f, static_cast<unsigned>(cols));
    for (const BitWidth width : kWidths) {
      for (const size_t group_size : {32, 64, 128, 256}) {
        const QuantizeSpec spec = {width, group_size, QuantMethod::Rtn, 3.0};
        const Quantized q = quantize(rows_view(x, rows), spec);
        expect_valid_params(q);
        const size_t groups = groups_per_row(cols, group_size);
        double error_sq = 0, dot = 0, restored_sq = 0;
        for (size_t i = 0; i < x.size(); ++i) {
          const size_t group = i / cols * groups + i % cols / group_size;
          const double error = double{x[i]} - q.restored[i];
          // Rounding of scale and offset to fp16 may move the ends of the grid a little; a
          // subnormal scale by 127 times half of its smallest step.
          const float step = half_to_float(q.scales[group]);
          ASSERT_LE(std::abs(error), 0.57f * step + 127 * 0x1p-25f) << cols;
          error_sq += error * error;
          dot += double{x[i]} * q.restored[i];
          restored_sq += double{q.restored[i]} * q.restored[i];
        }
        EXPECT_NEAR(q.error.error_sq, error_sq, error_sq * 1e-6);
        EXPECT_NEAR(q.error.dot, dot, dot * 1e-6);
        EXPECT_NEAR(q.error.restored_sq, restored_sq, restored_sq * 1e-6);
      }
    }
  }
}

TEST(Quantize, PadBitsAreZero) {
  const std::vector<float> x = gaussian(7 * 5, 1.0f, 4);
  for (const QuantMethod method : kMethods) {
    const Quantized four = quantize(rows_view(x, 7), {BitWidth::Int4, 32, method, 3.0});
    const Quantized two = quantize(rows_view(x, 7), {BitWidth::Int2, 32, method, 3.0});
    for (size_t row = 0; row < 7; ++row) {
      EXPECT_EQ(four.codes[row * 3 + 2] & 0xF0, 0);
      EXPECT_EQ(two.codes[row * 2 + 1] & 0xFC, 0);
    }
  }
}

TEST(Quantize, ConstantGroupsComeBackExactOrWithinTheRoundingOfTheirParameters) {
  for (const float value : {0.0f, -0.0f, 1.0f, -1.0f, 0.1f, -0.1f, 3.14159265f, -1000.1f, 30000.7f,
                            0.000123456f, -7e-5f}) {
    for (const size_t cols : {1, 5, 128, 130}) {
      const std::vector<float> x(3 * cols, value);
      for (const BitWidth width : kWidths) {
        for (const QuantMethod method : kMethods) {
          const Quantized q = quantize(rows_view(x, 3), {width, 128, method, 3.0});
          expect_valid_params(q);
          // 8 bits: one fp16 scale; else offset and scale together hold 22 bits, down to half of
          // fp16's smallest step.
          const float bound = width == BitWidth::Int8 ? std::abs(value) * 0x1p-11f + 127 * 0x1p-25f
                                                      : std::abs(value) * 0x1p-20f + 0x1p-25f;
          for (const float y : q.restored) EXPECT_NEAR(y, value, bound);
        }
      }
    }
  }
}

TEST(Quantize, ZerosAreExactAndEqual) {
  const std::vector<float> x(4 * 200, 0.0f);
  for (const BitWidth width : kWidths) {
    for (const QuantMethod method : kMethods) {
      const Quantized q = quantize(rows_view(x, 4), {width, 128, method, 3.0});
      expect_valid_params(q);
      EXPECT_EQ(q.restored, x);
      EXPECT_EQ(q.error.cosine(), 1.0);
      EXPECT_EQ(q.range.abs_max, 0.0f);
      EXPECT_EQ(choose_tensor_scale(q.range), 1.0f);
    }
  }
}

TEST(Quantize, GroupsTooSmallForFp16BesideLargeOnesLoseNoMoreThanAConstantWould) {
  for (const float tiny : {1e-45f, 1e-40f, 1e-20f, 1e-9f, 3e-8f, 1e-7f, 1e-6f}) {
    std::vector<float> x = gaussian(2 * 256, 1.0f, 5);
    for (size_t i = 0; i < 256; ++i) x[i] *= tiny;
    for (const BitWidth width : kWidths) {
      for (const QuantMethod method : kMethods) {
        const Quantized q = quantize(rows_view(x, 2), {width, 128, method, 3.0});
        expect_valid_params(q);
        for (size_t i = 0; i < 256; ++i) {
          EXPECT_LE(std::abs(q.restored[i] - x[i]), std::max(4 * tiny, 0x1p-24f)) << tiny;
        }
      }
    }
  }
}

TEST(Quantize, DenormalWeightsKeepWhatTheirOwnStepsAllow) {
  const std::vector<float> x = gaussian(4 * 256, 1e-41f, 6);
  QuantizeScratch scratch;
  for (const BitWidth width : kWidths) {
    const RangeStats range = scan_rows(rows_view(x, 4), width, 128, scratch);
    const float tensor_scale = choose_tensor_scale(range);
    const Quantized q =
        quantize(rows_view(x, 4), {width, 128, QuantMethod::Rtn, 3.0}, tensor_scale);
    expect_valid_params(q);
    const size_t groups = 2;
    for (size_t i = 0; i < x.size(); ++i) {
      const float scale = half_to_float(q.scales[i / 256 * groups + i % 256 / 128]) * tensor_scale;
      EXPECT_LE(std::abs(q.restored[i] - x[i]), 0.57f * scale + 3e-45f);
    }
  }
}

TEST(Quantize, CloseWeightsFarFromZeroKeepAStepThatFitsThem) {
  // fp16 holds 100.03 as 100.0 or 100.0625, coarser than the whole group.
  std::vector<float> x(128);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 100.03f + 1e-5f * static_cast<float>(i);
  for (const QuantMethod method : kMethods) {
    const Quantized q = quantize(rows_view(x, 1), {BitWidth::Int4, 128, method, 3.0});
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(q.restored[i], x[i], 0.0025f);
  }
}

TEST(Quantize, WeightsBeyondFp16AtScaleOneStillGetValidParameters) {
  const std::vector<float> x = gaussian(256, 1e6f, 7);
  for (const BitWidth width : kWidths) {
    for (const QuantMethod method : kMethods) {
      expect_valid_params(quantize(rows_view(x, 1), {width, 128, method, 4.0}));
    }
  }
}

TEST(Quantize, EmptyViewsAreNothing) {
  QuantizeScratch scratch;
  ErrorStats error;
  RangeStats range;
  for (const RowsView& view :
       {RowsView{nullptr, DType::F32, 0, 5}, RowsView{nullptr, DType::F32, 5, 0}}) {
    quantize_rows(view, {}, 1.0f, {}, error, range, scratch);
    EXPECT_EQ(error.cosine(), 1.0);
    EXPECT_EQ(scan_rows(view, BitWidth::Int4, 128, scratch).abs_max, 0.0f);
  }
}

}  // namespace
}  // namespace arrow_quant
