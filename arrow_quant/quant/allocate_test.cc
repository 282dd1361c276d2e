#include "arrow_quant/quant/allocate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace arrow_quant {
namespace {

using Items = std::vector<AllocationItem>;

// Bytes and errors are small integers, so that every sum below is exact.
Items random_items(std::mt19937& random, size_t count) {
  std::uniform_int_distribution<int> num_options(1, 4), bytes(1, 40), error(0, 60);
  Items items(count);
  for (AllocationItem& options : items) {
    options.resize(static_cast<size_t>(num_options(random)));
    for (AllocationOption& option : options) {
      option = {bytes(random), static_cast<double>(error(random))};
    }
  }
  return items;
}

// The least error of any choice within the budget, by trying all.
double brute_force(const Items& items, int64_t budget, size_t first = 0) {
  if (first == items.size()) {
    return budget >= 0 ? 0 : std::numeric_limits<double>::infinity();
  }
  double best = std::numeric_limits<double>::infinity();
  for (const AllocationOption& option : items[first]) {
    best = std::min(best, option.error + brute_force(items, budget - option.bytes, first + 1));
  }
  return best;
}

// The most that one option saves over another of the same item: no step saves more.
double largest_gain(const Items& items) {
  double largest = 0;
  for (const AllocationItem& options : items) {
    const auto [low, high] = std::minmax_element(
        options.begin(), options.end(),
        [](const AllocationOption& a, const AllocationOption& b) { return a.error < b.error; });
    largest = std::max(largest, high->error - low->error);
  }
  return largest;
}

Allocated::Choice choice(size_t option, std::optional<double> gain) {
  return {option, gain};
}
bool operator==(const Allocated::Choice& a, const Allocated::Choice& b) {
  return a.option == b.option && a.gain_per_byte == b.gain_per_byte;
}

TEST(Allocate, TheStepsThatSaveMostPerByteAreTakenFirst) {
  const Items items = {{{10, 8}, {20, 4}, {40, 0}}, {{10, 20}, {20, 5}}};
  const auto at = [&](int64_t budget) { return allocate(items, budget); };
  EXPECT_TRUE(at(20).choices[0] == choice(0, std::nullopt));
  EXPECT_TRUE(at(20).choices[1] == choice(0, std::nullopt));
  EXPECT_TRUE(at(30).choices[1] == choice(1, 1.5));
  EXPECT_TRUE(at(40).choices[0] == choice(1, 0.4));
  EXPECT_TRUE(at(59).choices[0] == choice(1, 0.4)) << "the last step takes 20 bytes";
  EXPECT_TRUE(at(60).choices[0] == choice(2, 0.2));
  EXPECT_EQ(at(60).bytes, 60);
  EXPECT_EQ(at(60).error, 5);
  EXPECT_EQ(least_bytes(items), 20);
  EXPECT_EQ(most_bytes(items), 60);
}

TEST(Allocate, OptionsAboveTheHullAndThoseThatSaveNothingAreNeverTaken) {
  // 20 bytes lie above the line from 10 to 30; 40 bytes are worse than 30.
  const Items items = {{{20, 9}, {10, 10}, {40, 3}, {30, 2}}};
  for (int64_t budget = 10; budget <= 50; ++budget) {
    const size_t expected = budget < 30 ? 1 : 3;
    EXPECT_EQ(allocate(items, budget).choices[0].option, expected) << budget;
  }
  EXPECT_EQ(most_bytes(items), 30);
}

TEST(Allocate, EqualGainsAreTakenInTheOrderOfTheItems) {
  const Items items(3, {{10, 5}, {20, 0}});
  const Allocated allocated = allocate(items, 50);
  EXPECT_EQ(allocated.choices[0].option, 1u);
  EXPECT_EQ(allocated.choices[1].option, 1u);
  EXPECT_EQ(allocated.choices[2].option, 0u);
}

TEST(Allocate, AStepThatDoesNotFitLeavesTheRestToSmallerOnes) {
  const Items items = {{{10, 90}, {50, 0}}, {{10, 5}, {15, 0}}};
  const Allocated allocated = allocate(items, 30);
  EXPECT_EQ(allocated.choices[0].option, 0u);
  EXPECT_EQ(allocated.choices[1].option, 1u);
}

// For every budget: within it, never better than possible, worse by less than one step; and the
// optimum where the budget is just what was taken.
TEST(Allocate, ComesWithinOneStepOfTheBestOfAllChoices) {
  std::mt19937 random(1);
  size_t exact = 0;
  for (int round = 0; round < 60; ++round) {
    const Items items = random_items(random, 5);
    for (int64_t budget = least_bytes(items); budget <= most_bytes(items) + 2; ++budget) {
      const Allocated allocated = allocate(items, budget);
      const double best = brute_force(items, budget);
      ASSERT_LE(allocated.bytes, budget);
      ASSERT_GE(allocated.error, best);
      ASSERT_LT(allocated.error, best + std::max(largest_gain(items), 1.0));
      exact += allocated.error == best;
    }
    const Allocated all = allocate(items, most_bytes(items));
    ASSERT_EQ(all.error, brute_force(items, std::numeric_limits<int32_t>::max()));
  }
  EXPECT_GT(exact, 1000u) << "most budgets are met exactly";
}

// The steps' gains at a corner of the whole hull: all steps of at least this gain, and no other.
TEST(Allocate, IsTheBestOfAllChoicesWhereEveryStepOfAGainFits) {
  std::mt19937 random(2);
  size_t corners = 0;
  for (int round = 0; round < 60; ++round) {
    const Items items = random_items(random, 5);
    for (int64_t budget = least_bytes(items); budget <= most_bytes(items); ++budget) {
      const Allocated allocated = allocate(items, budget);
      double lowest = std::numeric_limits<double>::infinity();
      for (const Allocated::Choice& taken : allocated.choices) {
        lowest = std::min(lowest, taken.gain_per_byte.value_or(lowest));
      }
      // With error + lowest · bytes as each item's cost, this is a Lagrangian's minimum if no item
      // has a cheaper option; then no choice of these bytes has less error.
      const bool corner = std::equal(
          items.begin(), items.end(), allocated.choices.begin(),
          [&](const AllocationItem& options, const Allocated::Choice& taken) {
            const auto cost = [&](const AllocationOption& o) {
              return o.error + lowest * static_cast<double>(o.bytes);
            };
            return std::all_of(options.begin(), options.end(), [&](const AllocationOption& o) {
              return cost(o) >= cost(options[taken.option]) - 1e-9;
            });
          });
      if (corner && allocated.bytes == budget) {
        ASSERT_EQ(allocated.error, brute_force(items, budget));
        ++corners;
      }
    }
  }
  EXPECT_GT(corners, 100u);
}

TEST(Allocate, MoreBytesNeverGiveMoreError) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const Items items = random_items(random, 12);
    double before = std::numeric_limits<double>::infinity();
    for (int64_t budget = least_bytes(items); budget <= most_bytes(items); ++budget) {
      const double error = allocate(items, budget).error;
      ASSERT_LE(error, before) << budget;
      before = error;
    }
  }
}

TEST(Allocate, NothingToAllocateTakesNothing) {
  EXPECT_TRUE(allocate({}, 0).choices.empty());
  EXPECT_EQ(least_bytes({}), 0);
}

}  // namespace
}  // namespace arrow_quant
