#include "arrow_quant/io/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using testing::HasSubstr;

std::string read(const InputFile& file, uint64_t offset, size_t size_bytes) {
  std::string text(size_bytes, '?');
  file.read_at(offset, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

TEST(InputFile, ReadsAnyRange) {
  const TempDir dir;
  const InputFile file = InputFile::open(dir.write("a", "0123456789"));
  EXPECT_EQ(file.size_bytes(), 10u);
  EXPECT_EQ(read(file, 0, 10), "0123456789");
  EXPECT_EQ(read(file, 7, 3), "789");
  EXPECT_EQ(read(file, 10, 0), "");
}

TEST(InputFile, CanBeMoved) {
  const TempDir dir;
  InputFile a = InputFile::open(dir.write("a", "aa"));
  InputFile b = InputFile::open(dir.write("b", "bbb"));
  a = std::move(b);
  const InputFile c = std::move(a);
  EXPECT_EQ(c.path(), dir / "b");
  EXPECT_EQ(read(c, 0, 3), "bbb");
}

TEST(InputFile, SaysThatAFileShrankWhileItWasRead) {
  const TempDir dir;
  const InputFile file = InputFile::open(dir.write("a", "0123456789"));
  std::filesystem::resize_file(dir / "a", 4);
  const auto error = error_of([&] { read(file, 2, 8); });
  EXPECT_EQ(error->code(), ErrorCode::Io);
  EXPECT_EQ(error->path(), dir / "a");
  EXPECT_THAT(error->what(), HasSubstr("ends at byte 4, but had 10 bytes when it was opened"));
}

TEST(InputFile, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  const struct {
    std::filesystem::path path;
    int os_errno;
  } cases[] = {{dir / "absent", ENOENT},
               {dir.path(), EISDIR},
               {dir / "pipe", EINVAL},  // and does not wait for a writer
               {"/dev/null", EINVAL}};
  for (const auto& c : cases) {
    const auto error = error_of([&] { InputFile::open(c.path); });
    EXPECT_EQ(error->code(), ErrorCode::Io) << c.path;
    EXPECT_EQ(error->os_errno(), c.os_errno) << c.path;
    EXPECT_THAT(error->what(), HasSubstr(c.path.string()));
  }
}

}  // namespace
}  // namespace arrow_quant
