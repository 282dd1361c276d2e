#include "arrow_quant/io/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST(AtomicFile, AppearsOnlyWithCommit) {
  const TempDir dir;
  AtomicFile file(dir / "manifest.json");
  file.write("{");
  file.write("}");
  EXPECT_THAT(names_in(dir.path()), ElementsAre(".manifest.json.tmp"));
  file.commit();
  EXPECT_THAT(names_in(dir.path()), ElementsAre("manifest.json"));
  EXPECT_EQ(read_bytes(dir / "manifest.json"), "{}");
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TempDir dir;
  { AtomicFile(dir / "a").write("half"); }
  EXPECT_THAT(names_in(dir.path()), IsEmpty());
}

TEST(AtomicFile, ReplacesTheOldFileAtOnce) {
  const TempDir dir;
  dir.write("a", "old");
  AtomicFile file(dir / "a");
  file.write("new");
  EXPECT_EQ(read_bytes(dir / "a"), "old");
  file.commit();
  EXPECT_EQ(read_bytes(dir / "a"), "new");
}

TEST(AtomicFile, TakesOverWhatAKilledProcessLeft) {
  const TempDir dir;
  dir.write(".a.tmp", "a longer rest of an earlier attempt");
  AtomicFile file(dir / "a");
  file.write("new");
  file.commit();
  EXPECT_EQ(read_bytes(dir / "a"), "new");
  EXPECT_THAT(names_in(dir.path()), ElementsAre("a"));
}

TEST(AtomicFile, DoesNotWriteThroughALeftoverLink) {
  const TempDir dir;
  dir.write("victim", "untouched");
  fs::create_symlink("victim", dir / ".a.tmp");
  AtomicFile file(dir / "a");
  file.write("new");
  file.commit();
  EXPECT_EQ(read_bytes(dir / "victim"), "untouched");
  EXPECT_FALSE(fs::is_symlink(dir / "a"));
}

TEST(AtomicFile, SaysWhyItCannotBeMade) {
  const TempDir dir;
  const auto no_directory = error_of([&] { AtomicFile(dir / "absent/a"); });
  EXPECT_EQ(no_directory->code(), ErrorCode::Io);
  EXPECT_EQ(no_directory->os_errno(), ENOENT);

  fs::create_directory(dir / "taken");
  const auto is_directory = error_of([&] { AtomicFile(dir / "taken").commit(); });
  EXPECT_EQ(is_directory->os_errno(), EISDIR);
  EXPECT_THAT(names_in(dir.path()), ElementsAre("taken"));
}

TEST(SyncDirectory, FailsOnlyWhereThereIsNone) {
  const TempDir dir;
  sync_directory(dir.path());
  sync_directory("");  // the parent path of a bare file name
  EXPECT_EQ(error_of([&] { sync_directory(dir / "absent"); })->os_errno(), ENOENT);
}

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
