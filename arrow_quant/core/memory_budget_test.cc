#include "arrow_quant/core/memory_budget.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace arrow_quant {
namespace {

TEST(MemoryBudget, GivesWhatIsFreeAndNoMore) {
  MemoryBudget budget(100);
  EXPECT_TRUE(budget.try_take(60));
  EXPECT_FALSE(budget.try_take(41));
  EXPECT_TRUE(budget.try_take(40));
  budget.give(60);
  EXPECT_TRUE(budget.try_take(60));
}

TEST(MemoryBudget, AReservationWaitsForItsBytesAndGivesThemBack) {
  MemoryBudget budget(100);
  ASSERT_TRUE(budget.try_take(50));
  std::jthread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    budget.give(50);
  });
  {
    const auto all = budget.reserve(100, nullptr);
    EXPECT_FALSE(budget.try_take(1));
  }
  EXPECT_TRUE(budget.try_take(100));
}

TEST(MemoryBudget, ACancelledRunStopsWaiting) {
  MemoryBudget budget(100);
  ASSERT_TRUE(budget.try_take(1));
  CancelToken cancel;
  cancel.cancel();
  EXPECT_THROW((void)budget.reserve(100, &cancel), Error);
}

}  // namespace
}  // namespace arrow_quant
