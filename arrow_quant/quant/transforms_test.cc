#include "arrow_quant/quant/transforms.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

using testing::gaussian;
using testing::quantize;
using testing::Quantized;
using testing::rows_view;

using Matrix = std::vector<double>;  // row-major

// Element (i, j) of the Sylvester matrix is −1 to the number of ones that i and j share.
Matrix sylvester(size_t block) {
  Matrix h(block * block);
  for (size_t i = 0; i < block; ++i) {
    for (size_t j = 0; j < block; ++j) {
      h[i * block + j] =
          (std::popcount(i & j) % 2 == 0 ? 1 : -1) / std::sqrt(static_cast<double>(block));
    }
  }
  return h;
}

Matrix times_hadamard(const Matrix& x, size_t block) {
  const Matrix h = sylvester(block);
  Matrix y(x.size(), 0);
  for (size_t begin = 0; begin < x.size(); begin += block) {
    for (size_t i = 0; i < block; ++i) {
      for (size_t j = 0; j < block; ++j) {
        y[begin + j] += x[begin + i] * h[i * block + j];
      }
    }
  }
  return y;
}

float bfloat_value(uint16_t value) {
  return std::bit_cast<float>(uint32_t{value} << 16);
}

std::vector<uint16_t> bfloats(size_t count, float sigma, unsigned seed) {
  const std::vector<float> x = gaussian(count, sigma, seed);
  std::vector<uint16_t> out(count);
  narrow_from_f32(x.data(), count, DType::BF16, out.data());
  return out;
}

Matrix plus_product(Matrix x, const std::vector<uint16_t>& u, const std::vector<uint16_t>& v,
                    size_t rank, size_t cols) {
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t k = 0; k < rank; ++k) {
      x[i] += static_cast<double>(bfloat_value(u[i / cols * rank + k])) *
              bfloat_value(v[k * cols + i % cols]);
    }
  }
  return x;
}

Matrix widened(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

void expect_near(const std::vector<float>& actual, const Matrix& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance) << "element " << i;
  }
}

TEST(Transforms, TheHadamardTransformIsAProductWithTheOrthonormalSylvesterMatrix) {
  for (const size_t block : {2, 4, 8, 16, 32, 128, 512}) {
    const size_t rows = 3, cols = 3 * block;
    std::vector<float> x = gaussian(rows * cols, 1.0f, 1);
    const Matrix expected = times_hadamard(widened(x), block);
    hadamard_rows(x.data(), rows, cols, block);
    expect_near(x, expected, 4e-6);
  }
}

TEST(Transforms, TheHadamardTransformIsItsOwnInverse) {
  const std::vector<float> x = gaussian(4 * 1024, 1.0f, 2);
  std::vector<float> y = x;
  hadamard_rows(y.data(), 4, 1024, 256);
  hadamard_rows(y.data(), 4, 1024, 256);
  expect_near(y, widened(x), 4e-6);
}

// Written out with one addition after the other.
TEST(Transforms, TheHadamardTransformAddsInTheOrderThatIsDocumented) {
  const size_t block = 64;
  std::vector<float> x = gaussian(block, 1.0f, 3);
  std::vector<float> y = x;
  for (size_t stride = 1; stride < block; stride *= 2) {
    std::vector<float> next(block);
    for (size_t i = 0; i < block; ++i) {
      next[i] = (i & stride) == 0 ? y[i] + y[i + stride] : y[i - stride] - y[i];
    }
    y = next;
  }
  for (float& v : y) v *= 0.125f;
  hadamard_rows(x.data(), 1, block, block);
  EXPECT_EQ(x, y);
}

TEST(Transforms, ColumnsAreMultipliedAndDivided) {
  const std::vector<float> s = {1, 2, 4};
  std::vector<float> x = {1, 2, 3, 4, 5, 6};
  multiply_columns(x.data(), 2, 3, s.data());
  EXPECT_EQ(x, (std::vector<float>{1, 4, 12, 4, 10, 24}));
  divide_columns(x.data(), 2, 3, s.data());
  EXPECT_EQ(x, (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(Transforms, ALowRankIsAProductThatIsAdded) {
  const size_t rows = 7, cols = 65, rank = 5;
  std::vector<float> x = gaussian(rows * cols, 1.0f, 4);
  const auto u = bfloats(rows * rank, 1.0f, 5);
  const auto v = bfloats(rank * cols, 1.0f, 6);
  const Matrix expected = plus_product(widened(x), u, v, rank, cols);
  QuantizeScratch scratch;
  add_low_rank(x.data(), rows, cols, u.data(), v.data(), rank, scratch);
  expect_near(x, expected, 4e-6);
}

TEST(Transforms, OrdersAreKnownWhereEachStandsOnceAndInItsPlace) {
  using enum Transform;
  const std::vector<Transform> known[] = {{},
                                          {Hadamard},
                                          {LowRank},
                                          {InputScale},
                                          {Hadamard, LowRank},
                                          {Hadamard, InputScale},
                                          {LowRank, InputScale},
                                          {Hadamard, LowRank, InputScale}};
  for (const auto& order : known) EXPECT_TRUE(is_known_order(order));
  const std::vector<Transform> unknown[] = {
      {LowRank, Hadamard}, {InputScale, LowRank}, {Hadamard, Hadamard}};
  for (const auto& order : unknown) EXPECT_FALSE(is_known_order(order));
}

TEST(Transforms, NamesComeBack) {
  for (const Transform transform :
       {Transform::Hadamard, Transform::LowRank, Transform::InputScale}) {
    EXPECT_EQ(parse_transform(to_string(transform)), transform);
  }
  EXPECT_EQ(parse_transform("rotation"), std::nullopt);
}

// A weight of 33 rows with every transform.
struct Transformed {
  static constexpr size_t rows = 33, cols = 2176, block = 128, rank = 3;
  Quantized q = quantize(rows_view(gaussian(rows * cols, 0.02f, 7), rows), {});
  std::vector<uint16_t> u = bfloats(rows * rank, 0.1f, 8);
  std::vector<uint16_t> v = bfloats(rank * cols, 0.1f, 9);
  std::vector<float> s;
  QuantizeScratch scratch;

  Transformed() {
    for (size_t i = 0; i < cols; ++i) s.push_back(0.5f + 0.01f * static_cast<float>(i % 300));
  }
  TransformsView view(std::span<const Transform> order) const {
    return {order, block, rank, u.data(), v.data(), s.data()};
  }
};

TEST(Transforms, DequantizingUndoesThemInTheirOrder) {
  using enum Transform;
  Transformed t;
  const std::vector<Transform> orders[] = {{},
                                           {Hadamard},
                                           {LowRank},
                                           {InputScale},
                                           {Hadamard, LowRank},
                                           {Hadamard, InputScale},
                                           {LowRank, InputScale},
                                           {Hadamard, LowRank, InputScale}};
  for (const auto& order : orders) {
    Matrix expected = widened(t.q.restored);
    for (const Transform transform : order) {
      if (transform == Hadamard) expected = times_hadamard(expected, t.block);
      if (transform == LowRank) expected = plus_product(expected, t.u, t.v, t.rank, t.cols);
      for (size_t i = 0; transform == InputScale && i < expected.size(); ++i) {
        expected[i] /= t.s[i % t.cols];
      }
    }
    std::vector<float> actual(t.rows * t.cols);
    dequantize_rows(t.q.view, t.view(order), DType::F32, actual.data(), t.scratch);
    expect_near(actual, expected, 2e-6);
  }
}

TEST(Transforms, HalfPrecisionIsRoundedLastAndAnyAddressServes) {
  using enum Transform;
  Transformed t;
  const std::vector<Transform> order = {Hadamard, LowRank, InputScale};
  std::vector<float> floats(t.rows * t.cols);
  dequantize_rows(t.q.view, t.view(order), DType::F32, floats.data(), t.scratch);
  for (const DType dtype : {DType::F16, DType::BF16}) {
    std::vector<uint16_t> actual(floats.size()), expected(floats.size());
    dequantize_rows(t.q.view, t.view(order), dtype, actual.data(), t.scratch);
    narrow_from_f32(floats.data(), floats.size(), dtype, expected.data());
    EXPECT_EQ(actual, expected);
  }
  std::vector<uint8_t> bytes(floats.size() * sizeof(float) + 1);
  dequantize_rows(t.q.view, t.view(order), DType::F32, bytes.data() + 1, t.scratch);
  EXPECT_EQ(std::memcmp(bytes.data() + 1, floats.data(), floats.size() * sizeof(float)), 0);
}

TEST(Transforms, RowsOneByOneAreTheRowsOfTheWhole) {
  using enum Transform;
  Transformed t;
  const std::vector<Transform> order = {Hadamard, LowRank, InputScale};
  std::vector<float> whole(t.rows * t.cols), parts(t.rows * t.cols);
  dequantize_rows(t.q.view, t.view(order), DType::F32, whole.data(), t.scratch);
  for (size_t row = 0; row < t.rows; ++row) {
    CodesView one = t.q.view;
    one.rows = 1;
    one.codes += row * one.codes_stride_bytes;
    one.scales += row * one.params_stride;
    one.offsets += row * one.params_stride;
    dequantize_rows(one, t.view(order).from_row(row), DType::F32, parts.data() + row * t.cols,
                    t.scratch);
  }
  EXPECT_EQ(whole, parts);
}

}  // namespace
}  // namespace arrow_quant
