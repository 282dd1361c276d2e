#include "arrow_quant/core/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace arrow_quant {
namespace {

TEST(Progress, RunsFromZeroToExactlyOneWithoutFalling) {
  std::vector<double> fractions;
  Progress progress([&](std::string_view, double f) { fractions.push_back(f); }, 1000);
  progress.start("start");
  for (int i = 0; i < 1000; ++i) {
    progress.add(1);
    progress.message("tensor");
  }
  progress.finish("done");
  EXPECT_EQ(fractions.front(), 0.0);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
}

TEST(Progress, DeliversTheFirstMessagesAndThrottlesTheRest) {
  std::vector<std::string> messages;
  Progress progress([&](std::string_view m, double) { messages.emplace_back(m); }, 100000);
  progress.start("start");
  for (int i = 0; i < 100000; ++i) {
    progress.add(1);
    progress.message(std::to_string(i));
  }
  ASSERT_GE(messages.size(), 4u);
  EXPECT_THAT((std::vector<std::string>(messages.begin(), messages.begin() + 4)),
              testing::ElementsAre("start", "0", "1", "2"));
  EXPECT_LT(messages.size(), 1000u);  // 100,000 calls take far less than 50 s
}

TEST(Progress, LeavesOneToFinishEvenWhenAllBytesAreDone) {
  double last = 0;
  Progress progress([&](std::string_view, double f) { last = f; }, 10);
  progress.add(10);
  progress.message("all");
  EXPECT_LT(last, 1.0);
  progress.finish("done");
  EXPECT_EQ(last, 1.0);
}

}  // namespace
}  // namespace arrow_quant
