#include "arrow_quant/diffusion/markov.h"

#include <gtest/gtest.h>

#include <cmath>

namespace arrow_quant {
namespace {

using Doubles = std::vector<double>;

TEST(Markov, RangesJumpByWidthOrByCentre) {
  struct Case {
    ValueRange a, b;
    double expected;
  };
  for (const Case& c :
       {Case{{-1, 1}, {-1, 1}, 0}, Case{{-1, 1}, {-1.5, 1.5}, 0.5}, Case{{-1.5, 1.5}, {-1, 1}, 0.5},
        Case{{-1, 1}, {0, 2}, 0.5}, Case{{0, 2}, {-1, 1}, 0.5}, Case{{0, 0}, {0, 0}, 0}}) {
    EXPECT_DOUBLE_EQ(range_jump(c.a, c.b, 2), c.expected) << c.a.lo << ", " << c.b.lo;
  }
  EXPECT_GT(range_jump({0, 0}, {0, 1}, 1), 1e9);
  EXPECT_TRUE(std::isfinite(range_jump({0, 0}, {0, 1}, 1)));
}

TEST(Markov, TheMeanWidthIsGeometricAndLeavesOutEmptyRanges) {
  EXPECT_DOUBLE_EQ(mean_width(std::vector<ValueRange>{{0, 1}, {-2, 2}, {3, 3}}), 2);
  EXPECT_EQ(mean_width(std::vector<ValueRange>{{0, 0}}), 1);
}

TEST(Markov, ClipRatiosAndBiasesJumpRelatively) {
  EXPECT_DOUBLE_EQ(clip_jump(0.5, 0.75), 0.5);
  EXPECT_DOUBLE_EQ(clip_jump(0.75, 0.5), 0.5);
  const std::vector<float> a = {1, 2}, b = {4, 6};
  EXPECT_DOUBLE_EQ(bias_jump(a, b, 10), 0.5);
  EXPECT_DOUBLE_EQ(bias_jump(a, a, 0), 0);
  EXPECT_TRUE(std::isfinite(bias_jump(a, b, 0)));
}

TEST(Markov, TheScoreWeighsJumpsByWhatSurvives) {
  struct Case {
    Doubles jumps, couplings;
    double expected;
  };
  for (const Case& c : {Case{{}, {}, 1}, Case{{0, 0}, {0.5, 0.9}, 1}, Case{{5, 1}, {0.5, 0.9}, 0},
                        Case{{0.5, 0}, {0.5, 0.5}, 0.75}, Case{{0.4, 0}, {0.2, 0.6}, 0.9},
                        Case{{0, 0.4}, {0.2, 0.6}, 0.7}}) {
    EXPECT_DOUBLE_EQ(markov_score(c.jumps, c.couplings), c.expected);
  }
}

TEST(Markov, JumpsBelowTwiceTheNoiseAreNoise) {
  EXPECT_EQ(cause_of(0.5, std::nullopt), JumpCause::Unknown);
  EXPECT_EQ(cause_of(0.5, 0.26), JumpCause::SamplingNoise);
  EXPECT_EQ(cause_of(0.5, 0.25), JumpCause::Real);
  EXPECT_EQ(cause_of(0.5, 0.0), JumpCause::Real);
}

TEST(Markov, TheDiagnosisNamesEveryBoundaryAboveTheThreshold) {
  const Doubles jumps = {0.25, 0.3, 0.1, 0.8}, couplings = {1, 1, 1, 1};
  const MarkovDiagnosis diagnosis =
      diagnose_jumps(jumps, couplings, Doubles{0, 0.01, 0.2, 0, 0.3}, 0.25);
  EXPECT_DOUBLE_EQ(diagnosis.score, 1 - 1.45 / 4);
  EXPECT_EQ(diagnosis.largest_jump, 0.8);
  ASSERT_EQ(diagnosis.violations.size(), 2u) << "0.25 is not above 0.25";
  EXPECT_EQ(diagnosis.violations[0].boundary, 1u);
  EXPECT_EQ(diagnosis.violations[0].noise_floor, 0.2);
  EXPECT_EQ(diagnosis.violations[0].cause, JumpCause::SamplingNoise);
  EXPECT_EQ(diagnosis.violations[1].boundary, 3u);
  EXPECT_EQ(diagnosis.violations[1].jump, 0.8);
  EXPECT_EQ(diagnosis.violations[1].cause, JumpCause::Real);
}

TEST(Markov, WithoutHalfSamplesNoCauseIsClaimed) {
  const MarkovDiagnosis diagnosis = diagnose_jumps(Doubles{0.9}, Doubles{0.5}, {}, 0.25);
  ASSERT_EQ(diagnosis.violations.size(), 1u);
  EXPECT_EQ(diagnosis.violations[0].cause, JumpCause::Unknown);
  EXPECT_FALSE(diagnosis.violations[0].noise_floor);
}

TEST(Markov, OneGroupHasNothingToDiagnose) {
  const MarkovDiagnosis diagnosis = diagnose_jumps({}, {}, Doubles{0.1}, 0.25);
  EXPECT_EQ(diagnosis.score, 1);
  EXPECT_EQ(diagnosis.largest_jump, 0);
  EXPECT_TRUE(diagnosis.violations.empty());
}

TEST(Markov, RegretIsTheMeanIncreaseWhenNeighboursExchange) {
  EXPECT_DOUBLE_EQ(swap_regret(2, 3, 4, 4), 0.25);
  EXPECT_DOUBLE_EQ(swap_regret(2, 2, 4, 4), 0);
}

}  // namespace
}  // namespace arrow_quant
