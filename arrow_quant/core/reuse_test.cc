#include "arrow_quant/core/reuse.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace arrow_quant {
namespace {

constexpr size_t kMebibyte = size_t{1} << 20;

// Takes and drops what other tests gave back; they gave multiples of 2 MiB.
void forget_all() {
  for (size_t mebibytes = 4; mebibytes <= 512; mebibytes += 2) {
    for (size_t before = 0; before != kept_bytes();) {
      before = kept_bytes();
      take_buffer(mebibytes * kMebibyte);
    }
  }
  ASSERT_EQ(kept_bytes(), 0u);
}

// Gives a buffer of this size back, and returns where it was.
const uint8_t* give(size_t mebibytes) {
  Buffer buffer(mebibytes * kMebibyte);
  const uint8_t* const data = buffer.data();
  give_back(std::move(buffer));
  return data;
}

TEST(Reuse, ABufferOfACloseSizeComesBack) {
  forget_all();
  const uint8_t* const data = give(32);
  EXPECT_NE(take_buffer(33 * kMebibyte).data(), data) << "too small";
  EXPECT_NE(take_buffer(28 * kMebibyte).data(), data) << "more than an eighth too large";
  const Buffer taken = take_buffer(29 * kMebibyte);
  EXPECT_EQ(taken.data(), data);
  EXPECT_EQ(taken.size_bytes(), 29 * kMebibyte);
  EXPECT_NE(take_buffer(32 * kMebibyte).data(), data) << "given out twice";
}

TEST(Reuse, MemoryThatCameBackCanBeWritten) {
  forget_all();
  give(8);
  Buffer taken = take_buffer(8 * kMebibyte);
  for (size_t i = 0; i < taken.size_bytes(); i += 512) {
    taken.data()[i] = static_cast<uint8_t>(i / 512);
  }
  EXPECT_EQ(taken.data()[512 * 77], 77);
}

TEST(Reuse, NoMoreThanTheLimitIsKept) {
  forget_all();
  std::vector<Buffer> given;
  for (int i = 0; i < 60; ++i) {
    given.emplace_back(10 * kMebibyte);  // untouched: no memory is behind it
  }
  for (Buffer& buffer : given) {
    give_back(std::move(buffer));
  }
  const size_t limit = kept_bytes();
  EXPECT_LE(limit, 512 * kMebibyte);
  EXPECT_GE(limit, 10 * kMebibyte);
  give(10);
  EXPECT_EQ(kept_bytes(), limit);
  take_buffer(10 * kMebibyte);
  EXPECT_EQ(kept_bytes(), limit - 10 * kMebibyte);
}

TEST(Reuse, SmallOnesAreLeftToMalloc) {
  forget_all();
  give_back(Buffer(100));
  give_back(Buffer());
  EXPECT_EQ(kept_bytes(), 0u);
  EXPECT_EQ(take_buffer(100).size_bytes(), 100u);
  EXPECT_TRUE(take_buffer(0).empty());
}

}  // namespace
}  // namespace arrow_quant
