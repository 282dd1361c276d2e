#include "arrow_quant/core/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "arrow_quant/core/core_test_util.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

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

}  // namespace
}  // namespace arrow_quant
