#include "arrow_quant/diffusion/noise_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

using ::testing::HasSubstr;

// The levels of a chain of `count` steps that skips evenly through a schedule, noisiest first.
std::vector<double> respaced(const NoiseSchedule& schedule, size_t count) {
  std::vector<double> alpha_bar;
  for (size_t i = count; i-- > 0;) {
    alpha_bar.push_back(schedule.alpha_bar()[i * (schedule.steps() / count)]);
  }
  return alpha_bar;
}

TEST(NoiseSchedule, LinearBetasGiveTheKnownEnds) {
  const NoiseSchedule schedule(BetaSchedule::Linear);
  ASSERT_EQ(schedule.steps(), 1000u);
  EXPECT_DOUBLE_EQ(schedule.alpha_bar()[0], 1 - 1e-4);
  EXPECT_DOUBLE_EQ(schedule.alpha_bar()[1], (1 - 1e-4) * (1 - (1e-4 + 0.0199 / 999)));
  EXPECT_NEAR(schedule.alpha_bar()[999], 4.0358e-5, 1e-9);
}

TEST(NoiseSchedule, CosineBetasFollowTheSquaredCosineUntilTheyAreClipped) {
  const NoiseSchedule schedule(BetaSchedule::Cosine);
  const auto squared = [](double time) {
    const double cosine = std::cos((time + 0.008) / 1.008 * std::numbers::pi / 2);
    return cosine * cosine;
  };
  for (const size_t t : {0u, 1u, 250u, 500u, 998u}) {
    const double expected = squared(static_cast<double>(t + 1) / 1000) / squared(0);
    EXPECT_NEAR(schedule.alpha_bar()[t], expected, 1e-12) << t;
  }
  EXPECT_NEAR(schedule.alpha_bar()[999], schedule.alpha_bar()[998] * 0.001, 1e-15);
}

TEST(NoiseSchedule, BetasAndTheirProductsAreTheSameSchedule) {
  const std::vector<double> betas = {0.1, 0.2, 0.5};
  const std::vector<double> products = {0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.5};
  const NoiseSchedule a = NoiseSchedule::from_betas(betas);
  const NoiseSchedule b = NoiseSchedule::from_alphas_cumprod(products);
  for (size_t t = 0; t < 3; ++t) {
    EXPECT_DOUBLE_EQ(a.alpha_bar()[t], b.alpha_bar()[t]) << t;
  }
}

TEST(NoiseSchedule, ScheduleConfigsThatCannotBeAreRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  struct Case {
    std::vector<double> betas;
    std::vector<double> products;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{{{0.1, 1.5}, {}, "betas[1] is 1.5"},
                                         {{-0.1}, {}, "betas[0] is -0.1"},
                                         {{nan}, {}, "betas[0] is nan"},
                                         {{}, {}, "betas is empty"},
                                         {{0.1}, {0.5, 0.6}, "alphas_cumprod[1] is 0.6"},
                                         {{0.1}, {1.1}, "alphas_cumprod[0] is 1.1"},
                                         {{0.1}, {}, "alphas_cumprod is empty"}}) {
    try {
      NoiseSchedule::from_betas(c.betas);
      NoiseSchedule::from_alphas_cumprod(c.products);
      ADD_FAILURE() << c.message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidModel);
      EXPECT_THAT(error.what(), HasSubstr(c.message));
    }
  }
}

TEST(NoiseSchedule, LogSnrIsFiniteAtBothEndsAndInverts) {
  EXPECT_NEAR(log_snr(0), std::log(1e-12), 1e-9);
  EXPECT_NEAR(log_snr(1), -std::log(1e-12), 1e-3);
  EXPECT_EQ(log_snr(0.5), 0);
  for (const double share : {1e-6, 0.1, 0.5, 0.9, 0.999}) {
    EXPECT_NEAR(alpha_bar_of(log_snr(share)), share, 1e-12);
  }
}

TEST(NoiseSchedule, TimestepsBetweenStepsAreInterpolatedInLogSnr) {
  const std::vector<double> products = {0.9, 0.5, 0};
  const NoiseSchedule schedule = NoiseSchedule::from_alphas_cumprod(products);
  EXPECT_DOUBLE_EQ(schedule.log_snr(0), std::log(9.0));
  EXPECT_DOUBLE_EQ(schedule.log_snr(0.25), 0.75 * std::log(9.0));
  EXPECT_DOUBLE_EQ(schedule.log_snr(1.5), 0.5 * log_snr(0));
  EXPECT_DOUBLE_EQ(schedule.log_snr(-3), std::log(9.0));
  EXPECT_DOUBLE_EQ(schedule.log_snr(1e9), log_snr(0));
}

TEST(NoiseSchedule, FlowMatchingMeetsTheSameRatioOfSignalToNoise) {
  EXPECT_EQ(flow_alpha_bar(0), 1);
  EXPECT_EQ(flow_alpha_bar(0.5), 0.5);
  EXPECT_EQ(flow_alpha_bar(1), 0);
  EXPECT_NEAR(log_snr(flow_alpha_bar(0.2)), 2 * std::log(0.8 / 0.2), 1e-12);
}

TEST(NoiseSchedule, MaskedTextStartsWholeAndEndsHidden) {
  for (const BetaSchedule schedule : {BetaSchedule::Linear, BetaSchedule::Cosine}) {
    EXPECT_NEAR(unmasked_fraction(schedule, 0), 1, 1e-15);
    EXPECT_NEAR(unmasked_fraction(schedule, 1), 0, 1e-15);
  }
  EXPECT_DOUBLE_EQ(unmasked_fraction(BetaSchedule::Linear, 0.25), 0.75);
  EXPECT_NEAR(unmasked_fraction(BetaSchedule::Cosine, 0.5), std::sqrt(0.5), 1e-15);
}

// KL of two Gaussians of equal variance whose means differ as their noise predictions do.
double kl_of_one_step(double here, double next, bool last) {
  const double alpha = here / next, beta = 1 - alpha;
  const double mean_difference = beta / (std::sqrt(1 - here) * std::sqrt(alpha));
  const double variance = last ? beta : beta * (1 - next) / (1 - here);
  return mean_difference * mean_difference / (2 * variance);
}

TEST(NoiseSchedule, PathWeightsAreTheDivergenceOfEachStep) {
  const std::vector<double> chain = respaced(NoiseSchedule(BetaSchedule::Linear), 50);
  const std::vector<double> weights = path_kl_weights(chain);
  for (size_t i = 0; i < chain.size(); ++i) {
    const bool last = i + 1 == chain.size();
    const double expected = kl_of_one_step(chain[i], last ? 1 : chain[i + 1], last);
    EXPECT_NEAR(weights[i], expected, 1e-9 * expected) << i;
  }
}

TEST(NoiseSchedule, PathWeightsOfFiftyLinearStepsAreFlatButForTheEnd) {
  const std::vector<double> weights =
      path_kl_weights(respaced(NoiseSchedule(BetaSchedule::Linear), 50));
  EXPECT_NEAR(weights[0], 0.25, 0.02);
  EXPECT_NEAR(weights[27], 0.11, 0.01);
  EXPECT_NEAR(weights[45], 0.38, 0.05);
  EXPECT_GT(weights[48], 20);
}

TEST(NoiseSchedule, LevelsThatRepeatWeighNothingAndPureNoiseStaysFinite) {
  const std::vector<double> weights = path_kl_weights(std::vector<double>{0, 0.3, 0.3, 0.8});
  EXPECT_TRUE(std::isfinite(weights[0]));
  EXPECT_EQ(weights[1], 0);
  EXPECT_GT(weights[2], 0);
}

TEST(NoiseSchedule, EveryMaskedTokenIsUncoveredOnce) {
  const std::vector<double> unmasked = {0, 0.25, 0.5, 0.9};
  const std::vector<double> weights = masked_path_kl_weights(unmasked);
  double still_masked = 1;
  for (const double weight : weights) still_masked *= 1 - weight;
  EXPECT_NEAR(weights[0], 0.25, 1e-9);
  EXPECT_NEAR(weights[1], 0.25 / 0.75, 1e-9);
  EXPECT_NEAR(weights[3], 1, 1e-9);
  EXPECT_NEAR(still_masked, 0, 1e-9);
}

TEST(NoiseSchedule, CouplingIsOneAtEqualLevelsAndTheSameBothWays) {
  for (const NoiseKind kind : {NoiseKind::Gaussian, NoiseKind::Masking}) {
    EXPECT_DOUBLE_EQ(coupling(kind, 0.3, 0.3), 1);
    EXPECT_DOUBLE_EQ(coupling(kind, 0.2, 0.7), coupling(kind, 0.7, 0.2));
    EXPECT_GT(coupling(kind, 0, 1), 0);
    EXPECT_LT(coupling(kind, 0, 1), 1e-5);
  }
  EXPECT_DOUBLE_EQ(coupling(NoiseKind::Gaussian, 0.25, 1), std::sqrt(0.25 / (1 - 1e-12)));
  EXPECT_DOUBLE_EQ(coupling(NoiseKind::Masking, 0.2, 0.5), std::sqrt(0.25));
}

TEST(NoiseSchedule, TenGroupsOfFiftyLinearStepsCoupleAsMeasured) {
  std::vector<double> levels;
  for (const double alpha_bar : respaced(NoiseSchedule(BetaSchedule::Linear), 50)) {
    levels.push_back(log_snr(alpha_bar));
  }
  const std::vector<size_t> begins = {0, 5, 10, 15, 20, 25, 30, 35, 40, 45};
  const std::vector<double> couplings = group_couplings(NoiseKind::Gaussian, levels, begins);
  const std::vector<double> expected = {.39, .44, .48, .54, .60, .66, .74, .82, .91};
  ASSERT_EQ(couplings.size(), expected.size());
  for (size_t g = 0; g < expected.size(); ++g) {
    EXPECT_NEAR(couplings[g], expected[g], 0.02) << g;
  }
  EXPECT_TRUE(group_couplings(NoiseKind::Gaussian, levels, std::vector<size_t>{0}).empty());
}

}  // namespace
}  // namespace arrow_quant
