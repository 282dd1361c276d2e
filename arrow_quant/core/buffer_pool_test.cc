#include "arrow_quant/core/buffer_pool.h"

#include <gtest/gtest.h>

namespace arrow_quant {
namespace {

TEST(BufferPool, GivesBackMemoryOfAboutTheAskedSize) {
  BufferPool pool(1000);
  Buffer given(600);
  const uint8_t* const address = given.data();
  pool.give(std::move(given));
  EXPECT_NE(pool.take(500).data(), address) << "a fifth too large";
  EXPECT_NE(pool.take(601).data(), address) << "too small";
  const Buffer taken = pool.take(560);
  EXPECT_EQ(taken.data(), address);
  EXPECT_EQ(taken.size_bytes(), 560u);
  EXPECT_EQ(pool.spare_bytes(), 0u);
}

TEST(BufferPool, KeepsNoMoreThanItsLimit) {
  BufferPool pool(1000);
  for (int i = 0; i < 5; ++i) {
    pool.give(Buffer(400));
    EXPECT_LE(pool.spare_bytes(), 1000u);
  }
  EXPECT_EQ(pool.spare_bytes(), 800u);
  pool.give(Buffer(1001));
  EXPECT_EQ(pool.spare_bytes(), 0u) << "one that exceeds the limit alone is not kept";
}

TEST(Buffer, ResizesInTheMemoryThatItHas) {
  Buffer buffer(100);
  const uint8_t* const address = buffer.data();
  buffer.resize(40);
  EXPECT_EQ(buffer.size_bytes(), 40u);
  buffer.resize(100);
  EXPECT_EQ(buffer.data(), address);
  buffer.resize(101);
  EXPECT_EQ(buffer.size_bytes(), 101u);
}

}  // namespace
}  // namespace arrow_quant
