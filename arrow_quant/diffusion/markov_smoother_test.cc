#include "arrow_quant/diffusion/markov_smoother.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace arrow_quant {
namespace {

using Doubles = std::vector<double>;

double uniform(std::mt19937& random) {
  return static_cast<double>(random()) / 2147483648.0 - 1;
}

double objective(const TimeSequence& u, const TimeSequence& means, const Doubles& counts,
                 const Doubles& couplings, double rho) {
  double mean_count = 0, sum = 0;
  for (const double n : counts) mean_count += n / static_cast<double>(counts.size());
  for (size_t t = 0; t < u.steps; ++t) {
    for (size_t i = 0; i < u.width(); ++i) {
      sum += counts[t] / mean_count * std::pow(u.at(t)[i] - means.at(t)[i], 2);
      if (t + 1 < u.steps) sum += rho * couplings[t] * std::pow(u.at(t + 1)[i] - u.at(t)[i], 2);
    }
  }
  return sum;
}

TEST(MarkovSmoother, TheResultIsTheMinimum) {
  std::mt19937 random(11);
  for (const double rho : {0.5, 1.0, 5.0, 25.0, 1e4}) {
    TimeSequence means{Doubles(7 * 3), 7};
    for (double& value : means.values) value = uniform(random);
    const Doubles counts = {4, 1, 16, 0, 3, 8, 2}, couplings = {.4, .5, .6, .7, .8, .9};
    const TimeSequence u = smooth_over_time(means, counts, couplings, rho);
    const double least = objective(u, means, counts, couplings, rho);
    for (size_t i = 0; i < u.values.size(); ++i) {
      for (const double step : {-1e-3, 1e-3}) {
        TimeSequence moved = u;
        moved.values[i] += step;
        EXPECT_GT(objective(moved, means, counts, couplings, rho), least) << rho << ", " << i;
      }
    }
  }
}

TEST(MarkovSmoother, TwoStepsMeetAsWorkedOutByHand) {
  // (1 + rho·c) u0 − rho·c·u1 = 0, (1 + rho·c) u1 − rho·c·u0 = 3 with rho·c = 1: u = 1, 2.
  const TimeSequence u = smooth_over_time({{0, 3}, 2}, Doubles{5, 5}, Doubles{0.5}, 2);
  EXPECT_DOUBLE_EQ(u.values[0], 1);
  EXPECT_DOUBLE_EQ(u.values[1], 2);
}

TEST(MarkovSmoother, WithoutSmoothingTheMeansStay) {
  const TimeSequence means{{1, 5, 2}, 3};
  EXPECT_EQ(smooth_over_time(means, Doubles{1, 2, 3}, Doubles{1, 1}, 0).values, means.values);
  EXPECT_EQ(smooth_over_time({{7}, 1}, Doubles{3}, {}, 25).values, Doubles{7}) << "one step";
}

TEST(MarkovSmoother, StepsWithoutRowsTakeWhatLiesBetweenTheirNeighbours) {
  const TimeSequence means{{99, 1, 99, 4, 99}, 5};
  const Doubles counts = {0, 8, 0, 8, 0}, couplings = {.9, .5, .25, .9};
  const TimeSequence u = smooth_over_time(means, counts, couplings, 0);
  EXPECT_NEAR(u.values[0], 1, 1e-6);
  EXPECT_NEAR(u.values[1], 1, 1e-6);
  EXPECT_NEAR(u.values[2], 2, 1e-6) << "twice as near to the one with twice the coupling";
  EXPECT_NEAR(u.values[3], 4, 1e-6);
  EXPECT_NEAR(u.values[4], 4, 1e-6);
}

TEST(MarkovSmoother, StrongSmoothingGivesTheMeanOfAllRows) {
  const TimeSequence u = smooth_over_time({{1, 5}, 2}, Doubles{30, 10}, Doubles{1}, 1e12);
  EXPECT_NEAR(u.values[0], 2, 1e-9);
  EXPECT_NEAR(u.values[1], 2, 1e-9);
}

// Sums of `trajectories` noisy copies of one truth over 20 steps.
std::vector<TrajectorySums> noisy(size_t trajectories, double drift, double noise, unsigned seed) {
  constexpr size_t kSteps = 20, kWidth = 8;
  std::mt19937 random(seed);
  TrajectorySums empty;
  empty.sums = {Doubles(kSteps * kWidth), kSteps};
  empty.counts.assign(kSteps, 2);
  std::vector<TrajectorySums> all(trajectories, empty);
  for (size_t i = 0; i < kWidth; ++i) {
    double truth = uniform(random);
    for (size_t t = 0; t < kSteps; ++t) {
      truth += drift * uniform(random);
      for (TrajectorySums& one : all) {
        one.sums.at(t)[i] = 2 * (truth + noise * uniform(random));
      }
    }
  }
  return all;
}

TEST(MarkovSmoother, TheSmoothingFollowsFromTheDataAlone) {
  const Doubles couplings(19, 0.8);
  EXPECT_EQ(choose_smoothing(noisy(4, 0, 1, 1), couplings), 25) << "nothing changes but the noise";
  EXPECT_EQ(choose_smoothing(noisy(4, 3, 0.1, 2), couplings), 0) << "nothing is noise";
  const double between = choose_smoothing(noisy(4, 0.7, 1.5, 3), couplings);
  EXPECT_GT(between, 0);
  EXPECT_LT(between, 25);
  EXPECT_EQ(choose_smoothing(noisy(1, 0, 1, 4), couplings), 0) << "nothing to compare with";
}

TEST(MarkovSmoother, ChoosingBearsTrajectoriesThatLackSteps) {
  std::vector<TrajectorySums> all = noisy(3, 0, 1, 5);
  for (size_t t = 0; t < 20; ++t) {
    TrajectorySums& lacking = all[t % 3];
    lacking.counts[t] = 0;
    for (double& value : lacking.sums.at(t)) value = 0;
  }
  EXPECT_EQ(choose_smoothing(all, Doubles(19, 0.8)), 25);
  all.resize(2);
  EXPECT_TRUE(std::isfinite(choose_smoothing(all, Doubles(19, 0.8)))) << "some steps have no rest";
}

}  // namespace
}  // namespace arrow_quant
