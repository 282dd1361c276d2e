#include "arrow_quant/core/threads.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <stdexcept>

namespace arrow_quant {
namespace {

TEST(Threads, EveryIndexRunsOnce) {
  std::array<std::atomic<int>, 5> calls{};
  run_on_threads(5, [&](size_t index) { ++calls[index]; });
  for (const auto& count : calls) {
    EXPECT_EQ(count, 1);
  }
}

TEST(Threads, AnExceptionOfAnyThreadReachesTheCaller) {
  for (size_t thrower : {size_t{0}, size_t{2}}) {
    EXPECT_THROW(run_on_threads(3,
                                [&](size_t index) {
                                  if (index == thrower) throw std::domain_error("stop");
                                }),
                 std::domain_error);
  }
}

TEST(Threads, AtLeastOneIsAvailable) {
  EXPECT_GE(available_threads(), 1u);
}

}  // namespace
}  // namespace arrow_quant
