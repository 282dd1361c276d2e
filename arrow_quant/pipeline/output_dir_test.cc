#include "arrow_quant/pipeline/output_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "arrow_quant/core/core_test_util.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

using testing::HasSubstr;

TEST(OutputDir, SaysWhatIsWrongWithANameAndWhatToDo) {
  const TempDir dir;
  dir.write("model.safetensors", "");
  dir.write("file", "");
  fs::create_symlink("nowhere", dir / "dangling");
  const struct {
    const char* what;
    fs::path path;
    ErrorCode code;
    int os_errno;
    const char* message;
  } cases[] = {
      {"no name", "", ErrorCode::Configuration, 0,
       "the output's name is empty; name the directory"},
      {"300 characters", dir / std::string(300, 'x'), ErrorCode::Io, ENAMETOOLONG,
       "File name too long; name another output"},
      {"a link to nothing", dir / "dangling", ErrorCode::OutputExists, 0,
       "/dangling is a link to nowhere, which is not there; make that directory, or remove the "
       "link"},
      {"a path below a file", dir / "file/out", ErrorCode::Io, ENOTDIR, "Not a directory"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    for (const bool overwrite : {false, true}) {
      const auto error = error_of(
          [&] { OutputDir(c.path, dir / "model.safetensors", "fingerprint", overwrite, nullptr); });
      if (error) {
        EXPECT_EQ(error->code(), c.code) << error->what();
        EXPECT_EQ(error->os_errno(), c.os_errno);
        EXPECT_THAT(error->what(), HasSubstr(c.message));
      }
    }
  }
  EXPECT_TRUE(fs::is_symlink(dir / "dangling"));
}

}  // namespace
}  // namespace arrow_quant
