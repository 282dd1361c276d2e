#include "arrow_quant/io/file_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

TEST(CopyFileDurably, CopiesEveryByteAndShowsEachOnce) {
  const TempDir dir;
  constexpr size_t kMiB = size_t{1} << 20;  // the size of a chunk
  for (const size_t size : {size_t{0}, size_t{1}, kMiB, kMiB + 1, 3 * kMiB + 17}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) {
      bytes[i] = static_cast<char>(i * 7 + i / 4096);
    }
    dir.write("from", bytes);
    std::string shown;
    copy_file_durably(dir / "from", dir / "to", [&](std::span<const uint8_t> chunk) {
      shown.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
    });
    EXPECT_TRUE(read_bytes(dir / "to") == bytes) << size;
    EXPECT_TRUE(shown == bytes) << size;
  }
}

TEST(CopyFileDurably, MakesAFileOfALink) {
  const TempDir dir;
  dir.write("blob", "bytes");
  fs::create_symlink("blob", dir / "link");
  copy_file_durably(dir / "link", dir / "copy");
  EXPECT_FALSE(fs::is_symlink(dir / "copy"));
  EXPECT_EQ(read_bytes(dir / "copy"), "bytes");
}

TEST(CopyFileDurably, LeavesNothingWhenItIsStopped) {
  const TempDir dir;
  dir.write("from", "bytes");
  EXPECT_THROW(
      copy_file_durably(dir / "from", dir / "to", [](auto) { throw std::runtime_error("stop"); }),
      std::runtime_error);
  EXPECT_THAT(names_in(dir.path()), ElementsAre("from"));
}

}  // namespace
}  // namespace arrow_quant
