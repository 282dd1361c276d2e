#include "arrow_quant/core/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace arrow_quant {
namespace {

TEST(Memory, ThePeakCountsWhatWasTouched) {
  const double before = peak_memory_mb();
  EXPECT_GT(before, 1.0);
  std::vector<char> touched(size_t{300} << 20);
  std::memset(touched.data(), 1, touched.size());
  EXPECT_GE(peak_memory_mb(), 300.0);
  EXPECT_GE(peak_memory_mb(), before);
}

TEST(Memory, SomeIsAvailableAndLessThanAnyMachineHas) {
  EXPECT_GT(available_memory_bytes(), uint64_t{1} << 20);
  EXPECT_LT(available_memory_bytes(), uint64_t{1} << 50);
}

}  // namespace
}  // namespace arrow_quant
