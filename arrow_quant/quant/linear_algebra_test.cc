#include "arrow_quant/quant/linear_algebra.h"

#include <gtest/gtest.h>

#include <cmath>

#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

Directions random_directions(size_t rows, size_t width) {
  Directions d(rows, width);
  d.x = testing::gaussian(rows * width, 1.0f, 6);
  return d;
}

// Direction i of d becomes `share` of direction j.
void copy_direction(Directions& d, size_t i, size_t j, float share) {
  for (size_t r = 0; r < d.rows; ++r) d.x[r * d.width + i] = share * d.x[r * d.width + j];
}

// x · G.
std::vector<double> times(const Directions& x, const std::vector<double>& g) {
  std::vector<double> result(x.x.size());
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t k = 0; k < x.width; ++k) {
      for (size_t i = 0; i < x.width; ++i) {
        result[r * x.width + i] += x.x[r * x.width + k] * g[k * x.width + i];
      }
    }
  }
  return result;
}

TEST(SymmetricEigen, TakesAMatrixApart) {
  for (const size_t n : {1u, 2u, 7u, 40u, 80u}) {
    const std::vector<float> x = testing::gaussian(n * n, 1.0f, 4);
    std::vector<double> a(n * n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) a[i * n + j] = x[i * n + j] + x[j * n + i];
    }
    const SymmetricEigen eigen = symmetric_eigen(a, n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_LE(eigen.values[i], eigen.values[i == 0 ? 0 : i - 1]);
      for (size_t j = 0; j < n; ++j) {
        double sum = 0, length = 0;
        for (size_t k = 0; k < n; ++k) {
          sum += eigen.vectors[k * n + i] * eigen.values[k] * eigen.vectors[k * n + j];
          length += eigen.vectors[i * n + k] * eigen.vectors[j * n + k];
        }
        EXPECT_NEAR(sum, a[i * n + j], 1e-12 * static_cast<double>(n));
        EXPECT_NEAR(length, i == j ? 1 : 0, 1e-13 * static_cast<double>(n));
      }
    }
  }
}

struct Shape {
  size_t rows, width;
};

class Orthonormalize : public ::testing::TestWithParam<Shape> {};

INSTANTIATE_TEST_SUITE_P(Shapes, Orthonormalize,
                         ::testing::Values(Shape{1, 16}, Shape{5, 16}, Shape{16, 16},
                                           Shape{200, 16}, Shape{3000, 48}));

TEST_P(Orthonormalize, SpansAllThatTheDirectionsDo) {
  Directions d = random_directions(GetParam().rows, GetParam().width);
  copy_direction(d, 3, 1, -1e-3f);  // fewer than there are
  copy_direction(d, 7, 7, 0.0f);
  copy_direction(d, 9, 9, 1e-20f);
  const std::vector<double> lengths = products(d, d);
  Directions q = d;
  orthonormalize(q);
  const std::vector<double> square = products(q, q);
  const std::vector<double> shares = products(d, q);
  for (size_t i = 0; i < d.width; ++i) {
    for (size_t j = 0; j < d.width; ++j) {
      const bool one = i == j && i < d.rows;
      EXPECT_NEAR(square[i * d.width + j], one ? 1 : 0, 1e-6) << i << ", " << j;
    }
    double spanned = 0;
    for (size_t j = 0; j < d.width; ++j) spanned += std::pow(shares[i * d.width + j], 2);
    EXPECT_NEAR(spanned, lengths[i * d.width + i], 1e-6 * lengths[i * d.width + i]) << i;
  }
}

TEST(DivideBy, SolvesForEachRowWhateverTheLengths) {
  const Directions v = random_directions(90, 16), expected = random_directions(70, 16);
  std::vector<double> g = products(v, v);
  const std::vector<double> b = times(expected, g);
  const auto length = [](size_t i) { return std::exp2(-2.0 * static_cast<double>(i % 16)); };
  for (size_t i = 0; i < g.size(); ++i) g[i] *= length(i / 16) * length(i);
  Directions x(70, 16);
  for (size_t i = 0; i < b.size(); ++i) x.x[i] = static_cast<float>(b[i] * length(i));
  divide_by(x, g);
  for (size_t i = 0; i < b.size(); ++i) EXPECT_NEAR(x.x[i] * length(i), expected.x[i], 1e-6) << i;
}

TEST(DivideBy, SharesOutWhatDirectionsStandForTogether) {
  Directions v = random_directions(90, 16);
  copy_direction(v, 5, 2, 1.0f);
  copy_direction(v, 6, 6, 0.0f);
  const std::vector<double> g = products(v, v);
  Directions b = random_directions(70, 16);
  copy_direction(b, 5, 2, 1.0f);
  copy_direction(b, 6, 6, 0.0f);
  Directions x = b;
  divide_by(x, g);
  const std::vector<double> product = times(x, g);
  for (size_t r = 0; r < b.rows; ++r) {
    const float* row = x.x.data() + r * 16;
    EXPECT_NEAR(row[5], row[2], 1e-6);
    EXPECT_EQ(row[6], 0);
    for (size_t i = 0; i < 16; ++i) EXPECT_NEAR(product[r * 16 + i], b.x[r * 16 + i], 1e-5);
  }
}

TEST(DivideBy, GivesNothingForNothing) {
  Directions x = random_directions(3, 16);
  divide_by(x, std::vector<double>(16 * 16));
  EXPECT_EQ(x.x, std::vector<float>(x.x.size()));
}

}  // namespace
}  // namespace arrow_quant
