#include "arrow_quant/diffusion/transition_optimization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "arrow_quant/diffusion/diffusion_test_util.h"

namespace arrow_quant {
namespace {

using Errors = std::vector<std::unique_ptr<TransitionError>>;

constexpr size_t kCols = 32;
constexpr double kMeanWidth = 6;

// A layer, and rows of four groups whose spread grows slowly.
class TransitionOptimization : public ::testing::Test {
 protected:
  static constexpr size_t kGroups = 4;

  TransitionOptimization() : sketch_(sketch_of_rows(bell_values(60 * kCols, 1000), kCols)) {}

  void take_rows(size_t rows, unsigned seed = 1) {
    for (size_t g = 0; g < kGroups; ++g) {
      const double spread = 1 + 0.1 * static_cast<double>(g);
      const auto number = static_cast<unsigned>(g);
      train_[g] = bell_values(rows * kCols, seed + number, spread);
      held_out_[g] = bell_values(64 * kCols, seed + 100 + number, spread);
      fresh_[g] = bell_values(400 * kCols, seed + 200 + number, spread);
    }
  }

  Errors static_errors(int bits, bool fresh = false) const {
    Errors errors;
    for (size_t g = 0; g < kGroups; ++g) {
      errors.push_back(static_row_error(
          {train_[g], fresh ? fresh_[g] : held_out_[g], &sketch_, bits}, kMeanWidth));
    }
    return errors;
  }

  Errors dynamic_errors(int bits) const {
    Errors errors;
    for (size_t g = 0; g < kGroups; ++g) {
      errors.push_back(dynamic_row_error({train_[g], held_out_[g], &sketch_, bits}));
    }
    return errors;
  }

  // Extremes of the sample, as without any search.
  std::vector<Coordinates> extremes() const {
    std::vector<Coordinates> start;
    for (const Floats& rows : train_) {
      const auto [least, largest] = std::minmax_element(rows.begin(), rows.end());
      start.push_back(range_coordinates({*least, *largest}, kMeanWidth));
    }
    return start;
  }

  WeightSketch sketch_;
  std::array<Floats, kGroups> train_, held_out_, fresh_;
  const std::vector<double> couplings_ = {0.5, 0.7, 0.9};
};

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

TEST_F(TransitionOptimization, TheLossHasTheGradientOfFiniteDifferences) {
  // Of histograms, which have no jumps where codes flip.
  take_rows(100);
  Errors errors;
  for (const Floats& rows : train_) {
    errors.push_back(histogram_error(
        {ValueHistogram::of(rows), {}, static_cast<double>(rows.size()), 4}, kMeanWidth));
  }
  std::vector<Coordinates> u = extremes();
  const TransitionLoss loss(errors, u, couplings_);
  for (Coordinates& one : u) {
    one[0] -= 0.2137;
    one[1] += 0.0121;
  }
  std::vector<Coordinates> gradient(kGroups), ignored(kGroups);
  for (const TransitionLoss::Weights& weights :
       {TransitionLoss::Weights{0, 0}, TransitionLoss::Weights{10, 0},
        TransitionLoss::Weights{10, 0.5}}) {
    loss.evaluate(u, weights, gradient);
    for (size_t g = 0; g < kGroups; ++g) {
      for (size_t i = 0; i < 2; ++i) {
        constexpr double h = 1e-7;
        std::vector<Coordinates> less = u, more = u;
        less[g][i] -= h;
        more[g][i] += h;
        const double expected =
            (loss.evaluate(more, weights, ignored) - loss.evaluate(less, weights, ignored)) /
            (2 * h);
        EXPECT_NEAR(gradient[g][i], expected, 1e-3 * std::abs(expected) + 1e-5) << g << ", " << i;
      }
    }
  }
}

TEST_F(TransitionOptimization, TheLossOfTheStartIsOneWithoutItsOtherTerms) {
  take_rows(4);
  const Errors errors = static_errors(4);
  const std::vector<Coordinates> start = extremes();
  std::vector<Coordinates> gradient(kGroups);
  EXPECT_NEAR(TransitionLoss(errors, start, couplings_).evaluate(start, {}, gradient), 1, 1e-12);
}

TEST_F(TransitionOptimization, JumpsCostByTheirSquareAndCoupling) {
  take_rows(1);
  const Errors errors = static_errors(4);
  std::vector<Coordinates> u(kGroups, range_coordinates({-3, 3}, kMeanWidth)), gradient(kGroups);
  const TransitionLoss loss(errors, u, couplings_);
  u[3] = {u[3][0] + 0.3, u[3][1] + 0.4};
  const double without = loss.evaluate(u, {0, 0}, gradient);
  EXPECT_NEAR(loss.evaluate(u, {2, 0}, gradient) - without, 2 * 0.9 / 2.1 * 0.25, 1e-12);
}

TEST_F(TransitionOptimization, HeldOutErrorsNeverRise) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    for (const int bits : {2, 4, 8}) {
      take_rows(2, 1000 * seed);
      const Errors fixed = static_errors(bits), dynamic = dynamic_errors(bits);
      const std::vector<Coordinates> no_clip(kGroups, clip_coordinates(1));
      for (const auto& [errors, start] : {std::pair(TransitionErrors(fixed), extremes()),
                                          std::pair(TransitionErrors(dynamic), no_clip)}) {
        const TransitionResult result =
            optimize_transitions(errors, start, couplings_, {.learning_rate = 0.05});
        for (size_t g = 0; g < kGroups; ++g) {
          EXPECT_LE(result.held_out_after[g], result.held_out_before[g]);
          EXPECT_EQ(result.held_out_after[g], errors[g]->held_out_error(result.coordinates[g]));
          EXPECT_EQ(result.held_out_before[g], errors[g]->held_out_error(start[g]));
          if (result.held_out_after[g] == result.held_out_before[g]) {
            EXPECT_EQ(result.coordinates[g], start[g]) << "nothing moves without a gain";
          }
        }
      }
    }
  }
}

TEST_F(TransitionOptimization, WideRangesAreNarrowed) {
  take_rows(16);
  const Errors errors = static_errors(2);
  const TransitionResult result =
      optimize_transitions(errors, extremes(), couplings_, {.learning_rate = 0.02});
  EXPECT_EQ(result.improved_groups, kGroups);
  EXPECT_LT(sum(result.held_out_after), 0.8 * sum(result.held_out_before));
  // And so on rows that had no say at all.
  const Errors fresh = static_errors(2, true);
  const std::vector<Coordinates> start = extremes();
  double before = 0, after = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    before += *fresh[g]->held_out_error(start[g]);
    after += *fresh[g]->held_out_error(result.coordinates[g]);
  }
  EXPECT_LT(after, 0.8 * before);
}

TEST_F(TransitionOptimization, ClipRatiosAreOptimizedToo) {
  take_rows(16);
  const Errors errors = dynamic_errors(2);
  const std::vector<Coordinates> start(kGroups, clip_coordinates(1));
  const TransitionResult result =
      optimize_transitions(errors, start, couplings_, {.learning_rate = 0.02});
  EXPECT_EQ(result.improved_groups, kGroups);
  for (const Coordinates& u : result.coordinates) {
    EXPECT_LT(clip_at(u), 1);
    EXPECT_EQ(u[1], 0);
  }
}

TEST_F(TransitionOptimization, WithoutHeldOutRowsNothingMoves) {
  take_rows(4);
  held_out_ = {};
  const Errors errors = static_errors(2);
  const std::vector<Coordinates> start = extremes();
  const TransitionResult result = optimize_transitions(errors, start, couplings_, {});
  EXPECT_EQ(result.coordinates, start);
  EXPECT_EQ(result.improved_groups, 0u);
}

TEST_F(TransitionOptimization, IterationsEndAtTheirLimitOrWhenLittleIsGained) {
  take_rows(2);
  const Errors errors = static_errors(4);
  struct Case {
    TransitionOptimizationConfig config;
    size_t least, most;
  };
  for (const Case& c : std::vector<Case>{
           {{.max_iterations = 0}, 0, 0},
           {{.markov_weight = 0, .max_iterations = 5, .convergence_threshold = 1e-12}, 1, 5},
           {{.max_iterations = 5, .convergence_threshold = 1e-12}, 4, 20},
           {{.max_iterations = 50, .convergence_threshold = 10}, 12, 12},  // 3 of each of 4
       }) {
    const TransitionResult result = optimize_transitions(errors, extremes(), couplings_, c.config);
    EXPECT_GE(result.iterations, c.least);
    EXPECT_LE(result.iterations, c.most);
  }
}

TEST_F(TransitionOptimization, OneGroupHasNoJumpsToWeigh) {
  take_rows(8);
  Errors errors;
  errors.push_back(static_row_error({train_[0], held_out_[0], &sketch_, 2}, kMeanWidth));
  const std::vector<Coordinates> start = {extremes()[0]};
  const TransitionResult result =
      optimize_transitions(errors, start, {}, {.learning_rate = 0.02, .max_iterations = 30});
  EXPECT_LE(result.iterations, 30u) << "one descent";
  EXPECT_EQ(result.improved_groups, 1u);
}

TEST_F(TransitionOptimization, TheSameInputsGiveTheSameBytes) {
  take_rows(4);
  const Errors errors = static_errors(4);
  const TransitionResult a = optimize_transitions(errors, extremes(), couplings_, {});
  const TransitionResult b = optimize_transitions(errors, extremes(), couplings_, {});
  EXPECT_EQ(a.coordinates, b.coordinates);
  EXPECT_EQ(a.held_out_after, b.held_out_after);
}

}  // namespace
}  // namespace arrow_quant
