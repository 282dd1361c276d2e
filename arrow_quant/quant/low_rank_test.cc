#include "arrow_quant/quant/low_rank.h"

#include <cmath>

#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/target_test_util.h"
#include "arrow_quant/quant/linear_algebra.h"
#include "arrow_quant/quant/testing.h"

namespace arrow_quant {
namespace {

std::vector<float> widened(const std::vector<uint16_t>& bf16) {
  std::vector<float> values(bf16.size());
  kernels::widen(bf16.data(), DType::BF16, bf16.size(), 1.0f, values.data());
  return values;
}

std::vector<double> product_of(const LowRank& low_rank, size_t rows, size_t cols) {
  const std::vector<float> u = widened(low_rank.u), v = widened(low_rank.v);
  std::vector<double> product(rows * cols);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t k = 0; k < low_rank.rank; ++k) {
      for (size_t c = 0; c < cols; ++c) {
        product[r * cols + c] += static_cast<double>(u[r * low_rank.rank + k]) * v[k * cols + c];
      }
    }
  }
  return product;
}

// XᵀX with a hundredth of its mean diagonal added, [cols, cols].
std::vector<double> damped(const std::vector<float>& xtx, size_t cols) {
  std::vector<double> h(cols * cols);
  double trace = 0;
  for (size_t i = 0, at = 0; i < cols; ++i) {
    for (size_t j = i; j < cols; ++j, ++at) h[i * cols + j] = h[j * cols + i] = xtx[at];
    trace += h[i * cols + i];
  }
  for (size_t i = 0; i < cols; ++i) h[i * cols + i] += 0.01 * trace / static_cast<double>(cols);
  return h;
}

// A · H · Aᵀ, [rows, rows].
std::vector<double> seen_through(const std::vector<double>& a, const std::vector<double>& h,
                                 size_t cols) {
  const size_t rows = a.size() / cols;
  std::vector<double> ah(rows * cols), result(rows * rows);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t k = 0; k < cols; ++k) {
      for (size_t c = 0; c < cols; ++c) ah[r * cols + c] += a[r * cols + k] * h[k * cols + c];
    }
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t q = 0; q < rows; ++q) {
      for (size_t c = 0; c < cols; ++c) {
        result[r * rows + q] += ah[r * cols + c] * a[q * cols + c];
      }
    }
  }
  return result;
}

double trace_of(const std::vector<double>& a, size_t n) {
  double trace = 0;
  for (size_t i = 0; i < n; ++i) trace += a[i * n + i];
  return trace;
}

struct Case {
  size_t rows, cols, rank, input_rows;
};

class LowRankOf : public ::testing::TestWithParam<Case> {
 protected:
  size_t rows() const { return GetParam().rows; }
  size_t cols() const { return GetParam().cols; }

  // tr((E − U·V) · H · (E − U·V)ᵀ); without a correction that of E.
  double error_of_outputs(const LowRank& low_rank) const {
    std::vector<double> rest = product_of(low_rank, rows(), cols());
    for (size_t i = 0; i < rest.size(); ++i) rest[i] = e[i] - rest[i];
    return trace_of(seen_through(rest, damped(xtx, cols()), cols()), rows());
  }

  const std::vector<float> e = testing::gaussian(GetParam().rows * GetParam().cols, 0.01f, 3);
  const std::vector<float> xtx = testing::gram_triangle(
      testing::mixed_inputs(GetParam().input_rows, GetParam().cols, 5), GetParam().cols);
};

INSTANTIATE_TEST_SUITE_P(Shapes, LowRankOf,
                         ::testing::Values(Case{96, 80, 4, 400}, Case{33, 130, 16, 200},
                                           Case{200, 24, 1, 100}, Case{64, 96, 10, 20},
                                           Case{5, 40, 3, 100}, Case{40, 6, 4, 50}));

TEST_P(LowRankOf, ComesCloseToTheBestOfItsRank) {
  const LowRank found = fit_low_rank(e, rows(), {xtx, {}}, GetParam().rank);
  ASSERT_EQ(found.rank, GetParam().rank);
  const std::vector<double> exact(e.begin(), e.end());
  const SymmetricEigen eigen =
      symmetric_eigen(seen_through(exact, damped(xtx, cols()), cols()), rows());
  double best = 0, all = 0;
  for (size_t i = 0; i < rows(); ++i) {
    all += eigen.values[i];
    if (i >= found.rank) best += eigen.values[i];
  }
  EXPECT_NEAR(error_of_outputs({}) / all, 1, 1e-9);
  EXPECT_LE(error_of_outputs(found), 1.01 * best + 1e-4 * all);
  EXPECT_LT(error_of_outputs(found), all);
}

TEST_P(LowRankOf, RestoresAnErrorOfNoHigherRank) {
  const size_t rank = std::min<size_t>(GetParam().rank, 3);
  const std::vector<float> a = testing::gaussian(rows() * rank, 1.0f, 8);
  const std::vector<float> b = testing::gaussian(rank * cols(), 1e-12f, 9);
  std::vector<float> thin(rows() * cols());
  for (size_t r = 0; r < rows(); ++r) {
    for (size_t k = 0; k < rank; ++k) {
      for (size_t c = 0; c < cols(); ++c) {
        thin[r * cols() + c] += a[r * rank + k] * b[k * cols() + c];
      }
    }
  }
  const LowRank found = fit_low_rank(thin, rows(), {xtx, {}}, GetParam().rank);
  EXPECT_EQ(found.rank, rank);
  const std::vector<double> product = product_of(found, rows(), cols());
  double error = 0, energy = 0;
  for (size_t i = 0; i < thin.size(); ++i) {
    error += (thin[i] - product[i]) * (thin[i] - product[i]);
    energy += static_cast<double>(thin[i]) * thin[i];
  }
  EXPECT_LT(error, 1e-4 * energy);
}

TEST_P(LowRankOf, SeesInputsThatAreDividedByAScale) {
  std::vector<float> scale(cols()), divided;
  for (size_t c = 0; c < cols(); ++c) scale[c] = std::ldexp(1.0f, static_cast<int>(c % 5) - 2);
  for (size_t i = 0, at = 0; i < cols(); ++i) {
    for (size_t j = i; j < cols(); ++j, ++at) divided.push_back(xtx[at] / scale[i] / scale[j]);
  }
  const LowRank scaled = fit_low_rank(e, rows(), {xtx, scale}, GetParam().rank);
  const LowRank plain = fit_low_rank(e, rows(), {divided, {}}, GetParam().rank);
  EXPECT_EQ(scaled.u, plain.u);
  EXPECT_EQ(scaled.v, plain.v);
}

TEST_P(LowRankOf, CostsNothingToErrorsThatItTakesAwayOnceTheyAreFree) {
  const LowRank found = fit_low_rank(e, rows(), {xtx, {}}, GetParam().rank);
  const std::vector<float> freed = freed_squares({xtx, {}}, cols(), widened(found.v));
  std::vector<double> h(cols() * cols());
  double trace = 0;
  for (size_t i = 0, at = 0; i < cols(); ++i) {
    for (size_t j = i; j < cols(); ++j, ++at) h[i * cols() + j] = h[j * cols() + i] = freed[at];
  }
  for (size_t i = 0; i < cols(); ++i) trace += xtx[i * cols() - i * (i - 1) / 2];
  // freed_squares() has a mean diagonal of 1 … 2 before damping.
  const double factor = std::exp2(-std::floor(std::log2(trace / static_cast<double>(cols()))));
  const auto cost = [&](const std::vector<double>& errors) {
    return trace_of(seen_through(errors, h, cols()), rows()) / factor;
  };
  const std::vector<double> taken = product_of(found, rows(), cols());
  const double all = error_of_outputs({});
  EXPECT_NEAR(cost(taken) / all, 0, 1e-4);
  EXPECT_NEAR(cost({e.begin(), e.end()}) / all, error_of_outputs(found) / all, 1e-3);
}

TEST(LowRank, HasNothingToCorrectWithoutErrorsOrInputs) {
  const std::vector<float> e = testing::gaussian(32 * 16, 1.0f, 1), zeros(32 * 16);
  const std::vector<float> xtx = testing::gram_triangle(testing::mixed_inputs(40, 16, 2), 16);
  EXPECT_EQ(fit_low_rank(zeros, 32, {xtx, {}}, 4).rank, 0u);
  EXPECT_EQ(fit_low_rank(e, 32, {std::vector<float>(xtx.size()), {}}, 4).rank, 0u);
}

TEST(LowRank, TakesNoMoreRanksThanThereAreColumns) {
  const std::vector<float> e = testing::gaussian(64 * 3, 1.0f, 1);
  const std::vector<float> xtx = testing::gram_triangle(testing::mixed_inputs(40, 3, 2), 3);
  const LowRank found = fit_low_rank(e, 64, {xtx, {}}, 8);
  EXPECT_EQ(found.rank, 3u);
  EXPECT_EQ(found.u.size(), 64u * 3);
  EXPECT_EQ(found.v.size(), 3u * 3);
}

TEST(LowRank, StopsWhenCancelled) {
  CancelToken cancel;
  cancel.cancel();
  const std::vector<float> e(64 * 4, 1.0f), xtx(10, 1.0f);
  EXPECT_THROW(fit_low_rank(e, 64, {xtx, {}}, 2, &cancel), Error);
}

TEST(LowRank, UsuallyCostsAThirdOfABitPerWeight) {
  EXPECT_EQ(usual_rank(3072, 3072), 32u);
  EXPECT_EQ(usual_rank(192, 768), 3u);
  EXPECT_EQ(usual_rank(12288, 12288), 64u);  // no more
  EXPECT_EQ(usual_rank(96, 96), 1u);
  EXPECT_EQ(usual_rank(95, 96), 0u);
  for (const auto& [rows, cols] : {std::pair<size_t, size_t>{300, 500}, {4096, 1024}}) {
    const double bits = 16.0 * static_cast<double>(usual_rank(rows, cols) * (rows + cols)) /
                        static_cast<double>(rows * cols);
    EXPECT_LE(bits, 1.0 / 3);
    EXPECT_GT(bits, 0.25);
  }
}

class LowRankOnTarget : public kernels::TargetTest {};

INSTANTIATE_TEST_SUITE_P(Targets, LowRankOnTarget,
                         ::testing::ValuesIn(kernels::targets_of_this_machine()),
                         kernels::target_name);

TEST_P(LowRankOnTarget, HasTheSameBytesEverywhere) {
  const std::vector<float> e = testing::gaussian(70 * 90, 0.01f, 3);
  const std::vector<float> xtx = testing::gram_triangle(testing::mixed_inputs(99, 90, 5), 90);
  const LowRank found = fit_low_rank(e, 70, {xtx, {}}, 6);
  static const LowRank first = found;
  EXPECT_EQ(found.u, first.u);
  EXPECT_EQ(found.v, first.v);
}

}  // namespace
}  // namespace arrow_quant
