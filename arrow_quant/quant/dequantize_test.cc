#include <gtest/gtest.h>

#include <cstring>

#include "arrow_quant/quant/quantize.h"
#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

using testing::gaussian;
using testing::quantize;
using testing::Quantized;
using testing::rows_view;

constexpr BitWidth kWidths[] = {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8};

TEST(Dequantize, HalfPrecisionIsTheRoundedFloat) {
  for (const size_t cols : {5, 300, 4096, 10001}) {
    const std::vector<float> x = gaussian(3 * cols, 0.02f, 1);
    for (const BitWidth width : kWidths) {
      const Quantized q = quantize(rows_view(x, 3), {width});
      QuantizeScratch scratch;
      for (const DType dtype : {DType::F16, DType::BF16}) {
        std::vector<uint16_t> actual(x.size()), expected(x.size());
        dequantize_rows(q.view, dtype, actual.data(), scratch);
        narrow_from_f32(q.restored.data(), x.size(), dtype, expected.data());
        EXPECT_EQ(actual, expected);
      }
    }
  }
}

TEST(Dequantize, AnyAddressServes) {
  const std::vector<float> x = gaussian(2 * 130, 0.02f, 2);
  const Quantized q = quantize(rows_view(x, 2), {});
  std::vector<uint8_t> bytes(x.size() * sizeof(float) + 1);
  QuantizeScratch scratch;
  dequantize_rows(q.view, DType::F32, bytes.data() + 1, scratch);
  EXPECT_EQ(std::memcmp(bytes.data() + 1, q.restored.data(), x.size() * sizeof(float)), 0);
}

TEST(Compare, AgreesWithWhatQuantizingMeasured) {
  for (const size_t cols : {1, 9, 300, 10000}) {
    const std::vector<float> x = gaussian(11 * cols, 0.02f, 3);
    for (const BitWidth width : kWidths) {
      const Quantized q = quantize(rows_view(x, 11), {width});
      ErrorStats error;
      QuantizeScratch scratch;
      compare_rows(rows_view(x, 11), q.restored.data(), error, scratch);
      EXPECT_NEAR(error.cosine(), q.error.cosine(), 1e-7);
      EXPECT_GT(error.error_sq, 0.0);
      EXPECT_NEAR(error.sqnr_db(), q.error.sqnr_db(), 1e-4);
      EXPECT_NEAR(error.max_abs_error, q.error.max_abs_error, 1e-8);
    }
  }
}

TEST(Compare, HasTheSameSumsForAnySplitByRows) {
  const size_t rows = 23, cols = 777;
  const std::vector<float> x = gaussian(rows * cols, 1.0f, 4);
  const std::vector<float> y = gaussian(rows * cols, 1.0f, 5);
  QuantizeScratch scratch;
  ErrorStats whole, parts;
  compare_rows(rows_view(x, rows), y.data(), whole, scratch);
  for (size_t row = 0; row < rows; ++row) {
    compare_rows({x.data() + row * cols, DType::F32, 1, cols}, y.data() + row * cols, parts,
                 scratch);
  }
  EXPECT_EQ(whole.dot, parts.dot);
  EXPECT_EQ(whole.error_sq, parts.error_sq);
}

TEST(Compare, SumsOfTinyWeightsDoNotVanish) {
  const std::vector<float> x = gaussian(256, 1e-35f, 6);
  ErrorStats error;
  QuantizeScratch scratch;
  compare_rows(rows_view(x, 2), x.data(), error, scratch);
  EXPECT_GT(error.original_sq, 0.0);
  EXPECT_EQ(error.cosine(), 1.0);
}

}  // namespace
}  // namespace arrow_quant
