#include "arrow_quant/diffusion/time_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

namespace arrow_quant {
namespace {

using Trajectories = std::vector<std::vector<int32_t>>;

// `steps` steps of `rows` rows each, from as many trajectories as there are, in turn.
Trajectories even_rows(size_t steps, size_t rows, size_t trajectories) {
  Trajectories all(steps);
  size_t next = 0;
  for (std::vector<int32_t>& step : all) {
    for (size_t i = 0; i < rows; ++i) {
      step.push_back(static_cast<int32_t>(next++ % trajectories));
    }
  }
  return all;
}

const GroupNeeds kNoNeeds = {0, 0};

// Small integers, so that sums are exact in any order.
CandidateCosts random_costs(std::mt19937& random, size_t steps, size_t candidates) {
  std::uniform_int_distribution<int> cost(1, 20);
  CandidateCosts layer{std::vector<double>(steps * candidates), candidates};
  for (double& value : layer.costs) value = cost(random);
  return layer;
}

double least_cost(const CandidateCosts& layer, size_t begin, size_t end) {
  double least = std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < layer.candidates; ++k) {
    double sum = 0;
    for (size_t t = begin; t < end; ++t) sum += layer.at(t, k);
    least = std::min(least, sum);
  }
  return least;
}

double cost_of(const std::vector<CandidateCosts>& layers, const GroupBegins& begins) {
  double cost = 0;
  for (const CandidateCosts& layer : layers) {
    for (size_t g = 0; g < begins.size(); ++g) {
      const size_t end = g + 1 < begins.size() ? begins[g + 1] : layer.steps();
      cost += least_cost(layer, begins[g], end) / least_cost(layer, 0, layer.steps());
    }
  }
  return cost;
}

bool meets(const Trajectories& rows, const GroupBegins& begins, const GroupNeeds& needs) {
  for (size_t g = 0; g < begins.size(); ++g) {
    const size_t end = g + 1 < begins.size() ? begins[g + 1] : rows.size();
    std::set<int32_t> trajectories;
    size_t count = 0;
    for (size_t t = begins[g]; t < end; ++t) {
      count += rows[t].size();
      trajectories.insert(rows[t].begin(), rows[t].end());
    }
    if (count < needs.rows || trajectories.size() < needs.trajectories) return false;
  }
  return true;
}

// Calls `visit` with every grouping of `steps` steps into at most max_groups groups.
template <class Visit>
void each_grouping(size_t steps, size_t max_groups, Visit&& visit) {
  for (size_t mask = 0; mask < size_t{1} << (steps - 1); ++mask) {
    GroupBegins begins = {0};
    for (size_t t = 1; t < steps; ++t) {
      if (mask >> (t - 1) & 1) begins.push_back(t);
    }
    if (begins.size() <= max_groups) visit(begins);
  }
}

TEST(TimeGroups, TheGroupingIsTheCheapestOfAllThatMeetTheNeeds) {
  std::mt19937 random(7);
  for (size_t trial = 0; trial < 200; ++trial) {
    const size_t steps = 1 + trial % 8, candidates = 1 + trial % 4, max_groups = 1 + trial % 5;
    const size_t num_layers = 1 + trial % 3;
    std::vector<CandidateCosts> layers;
    for (size_t l = 0; l < num_layers; ++l) {
      layers.push_back(random_costs(random, steps, candidates));
    }
    Trajectories rows(steps);
    for (std::vector<int32_t>& step : rows) {
      step.resize(random() % 6);
      for (int32_t& trajectory : step) trajectory = static_cast<int32_t>(random() % 4);
    }
    const GroupNeeds asked = {trial % 11, trial % 5};
    const GroupNeeds needs = attainable_needs(rows, asked);
    const TimeGrouping chosen = choose_time_groups(layers, layers, rows, max_groups, 0, asked);
    ASSERT_TRUE(meets(rows, chosen.begins, needs)) << trial;
    const size_t groups = chosen.begins.size();
    std::vector<double> best(max_groups + 1, std::numeric_limits<double>::infinity());
    each_grouping(steps, max_groups, [&](const GroupBegins& begins) {
      if (meets(rows, begins, needs)) {
        best[begins.size()] = std::min(best[begins.size()], cost_of(layers, begins));
      }
    });
    EXPECT_NEAR(cost_of(layers, chosen.begins), best[groups], 1e-9) << trial;
    // Held-out rows are the same here, and each further group is charged 2.5 %.
    for (size_t g = 1; g <= max_groups; ++g) {
      const double further = static_cast<double>(g) - static_cast<double>(groups);
      EXPECT_LE(best[groups], best[g] * std::pow(1.025, further) + 1e-9) << trial << ", " << g;
    }
  }
}

TEST(TimeGroups, CandidatesAreTheCheapestOfTheirGroup) {
  // Steps 0 and 1 want candidate 0, steps 2 and 3 candidate 1; the second layer the other way.
  const std::vector<CandidateCosts> layers = {{{1, 9, 1, 9, 9, 1, 9, 1}, 2},
                                              {{9, 1, 9, 1, 1, 9, 1, 9}, 2}};
  const TimeGrouping chosen =
      choose_time_groups(layers, layers, even_rows(4, 1, 1), 4, 0, kNoNeeds);
  EXPECT_EQ(chosen.begins, (GroupBegins{0, 2}));
  EXPECT_EQ(chosen.candidates, (std::vector<std::vector<size_t>>{{0, 1}, {1, 0}}));
  EXPECT_EQ(chosen.held_out_costs.front(), 2) << "one group costs 1 per layer";
  EXPECT_EQ(best_candidates(layers[0], GroupBegins{0}), std::vector<size_t>{0})
      << "of equal candidates the first";
}

TEST(TimeGroups, GroupsThatHelpTheCalibrationAloneAreNotTaken) {
  const std::vector<CandidateCosts> layers = {{{1, 9, 9, 1}, 2}};
  const std::vector<CandidateCosts> held_out = {{{5, 5, 4, 6}, 2}};
  const Trajectories rows = even_rows(2, 1, 1);
  EXPECT_EQ(choose_time_groups(layers, layers, rows, 2, 0, kNoNeeds).begins.size(), 2u);
  EXPECT_EQ(choose_time_groups(layers, held_out, rows, 2, 0, kNoNeeds).begins.size(), 1u);
}

TEST(TimeGroups, AFurtherGroupMustSaveTwoAndAHalfPercent) {
  const Trajectories rows = even_rows(2, 1, 1);
  for (const auto& [saved, groups] : {std::pair{0.02, 1u}, std::pair{0.03, 2u}}) {
    // What the second candidate saves at step 1 it costs at step 0.
    const std::vector<CandidateCosts> layers = {{{1, 2, 1, 1 - 2 * saved}, 2}};
    EXPECT_EQ(choose_time_groups(layers, layers, rows, 2, 0, kNoNeeds).begins.size(), groups);
  }
}

TEST(TimeGroups, GroupsThatSaveLessThanIsAskedForAreNotTaken) {
  const Trajectories rows = even_rows(2, 1, 1);
  const std::vector<CandidateCosts> layers = {{{1, 2, 1, 0.8}, 2}};  // two groups save a tenth
  for (const auto& [least, groups] :
       {std::pair{0.0, 2u}, std::pair{0.09, 2u}, std::pair{0.11, 1u}}) {
    const TimeGrouping chosen = choose_time_groups(layers, layers, rows, 2, least, kNoNeeds);
    EXPECT_EQ(chosen.begins.size(), groups) << least;
    EXPECT_EQ(chosen.candidates[0].size(), groups) << least;
  }
}

TEST(TimeGroups, LayersThatCostNothingHaveNoSay) {
  const std::vector<CandidateCosts> layers = {{{0, 9, 0, 9}, 2}, {{1, 9, 9, 1}, 2}};
  const TimeGrouping chosen =
      choose_time_groups(layers, layers, even_rows(2, 1, 1), 2, 0, kNoNeeds);
  EXPECT_EQ(chosen.begins.size(), 2u);
  EXPECT_EQ(chosen.held_out_costs.front(), 1);
}

TEST(TimeGroups, EveryGroupHasSixtyFourRowsOfFourTrajectories) {
  std::mt19937 random(3);
  struct Case {
    size_t rows, trajectories, most;  // per step; in all; groups of 50 steps
  };
  for (const Case& c : {Case{16, 32, 12}, Case{64, 32, 50}, Case{1, 32, 1}, Case{200, 1, 50}}) {
    const std::vector<CandidateCosts> layers = {random_costs(random, 50, 40)};
    const Trajectories rows = even_rows(50, c.rows, c.trajectories);
    const TimeGrouping chosen = choose_time_groups(layers, layers, rows, 50);
    EXPECT_TRUE(meets(rows, chosen.begins, attainable_needs(rows)));
    EXPECT_EQ(chosen.held_out_costs.size(), c.most) << c.rows << ", " << c.trajectories;
  }
}

TEST(TimeGroups, NeedsThatNoGroupCanMeetAreLoweredToWhatThereIs) {
  struct Case {
    Trajectories rows;
    size_t expected_rows, expected_trajectories;
  };
  for (const Case& c : {Case{even_rows(50, 16, 32), 64, 4}, Case{even_rows(5, 8, 8), 40, 4},
                        Case{even_rows(50, 16, 2), 64, 2}, Case{even_rows(3, 0, 1), 0, 0}}) {
    const GroupNeeds needs = attainable_needs(c.rows);
    EXPECT_EQ(needs.rows, c.expected_rows);
    EXPECT_EQ(needs.trajectories, c.expected_trajectories);
  }
}

TEST(TimeGroups, UniformGroupsSpanEqualDistancesInLogSnr) {
  const std::vector<double> even = {-8, -6, -4, -2, 0, 2, 4, 6, 8};
  const Trajectories rows = even_rows(9, 64, 8);
  EXPECT_EQ(uniform_time_groups(even, rows, 1), (GroupBegins{0}));
  EXPECT_EQ(uniform_time_groups(even, rows, 2), (GroupBegins{0, 4}));
  EXPECT_EQ(uniform_time_groups(even, rows, 4), (GroupBegins{0, 2, 4, 6}));
  EXPECT_EQ(uniform_time_groups(even, rows, 100).size(), 9u) << "no group without a step";
  const std::vector<double> pure_noise_first = {-27, -3, -2, -1, 0, 1, 2, 3, 10};
  EXPECT_EQ(uniform_time_groups(pure_noise_first, rows, 2), (GroupBegins{0, 4}));
}

TEST(TimeGroups, UniformGroupsMeetTheNeedsToo) {
  std::vector<double> levels(50);
  std::iota(levels.begin(), levels.end(), -25.0);
  for (const size_t per_step : {1u, 3u, 16u, 100u}) {
    for (const size_t groups : {1u, 5u, 10u, 50u}) {
      const Trajectories rows = even_rows(50, per_step, 8);
      const GroupBegins begins = uniform_time_groups(levels, rows, groups);
      EXPECT_TRUE(meets(rows, begins, attainable_needs(rows))) << per_step << ", " << groups;
      EXPECT_LE(begins.size(), groups);
    }
  }
}

TEST(TimeGroups, StepsWithoutRowsBelongToSomeGroup) {
  Trajectories rows = even_rows(6, 64, 8);
  rows[0].clear();
  rows[5].clear();
  std::mt19937 random(1);
  const std::vector<CandidateCosts> layers = {random_costs(random, 6, 9)};
  const TimeGrouping chosen = choose_time_groups(layers, layers, rows, 6);
  EXPECT_TRUE(meets(rows, chosen.begins, GroupNeeds{}));
  EXPECT_TRUE(meets(rows, uniform_time_groups(std::vector<double>{1, 2, 3, 4, 5, 6}, rows, 6),
                    GroupNeeds{}));
}

}  // namespace
}  // namespace arrow_quant
