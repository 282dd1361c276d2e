#include "arrow_quant/io/input_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <random>
#include <string>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using testing::HasSubstr;

std::string random_text(size_t size_bytes) {
  std::mt19937 random(1);
  std::string text(size_bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::string read(InputReader& reader, const InputFile& file, uint64_t offset, uint64_t size_bytes,
                 size_t alignment = 1) {
  const std::span<const uint8_t> bytes = reader.read(file, offset, size_bytes, alignment);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % alignment, 0u);
  return std::string(bytes.begin(), bytes.end());
}

// Bytes of mapped files that are resident.
uint64_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoull(line.substr(8)) << 10;
  }
  return 0;
}

TEST(InputReader, ShowsAnyRangeOfAFileMappedOrNot) {
  const TempDir dir;
  const std::string text = random_text(100'000);
  const std::string other_text = random_text(5'000);
  std::mt19937 random(2);
  for (const bool mapped : {true, false}) {
    InputFile file = InputFile::open(dir.write("a", text));
    InputFile other = InputFile::open(dir.write("b", other_text));
    if (mapped) {
      file.map();
      other.map();
    }
    ASSERT_EQ(file.mapped() != nullptr, mapped);
    InputReader reader;
    for (int i = 0; i < 200; ++i) {
      const uint64_t offset = random() % (text.size() + 1);
      const uint64_t size = random() % (text.size() - offset + 1);
      const size_t alignment = size_t{1} << random() % 4;
      EXPECT_EQ(read(reader, file, offset, size, alignment), text.substr(offset, size))
          << offset << " " << size << " " << alignment;
      if (i % 8 == 0) {
        EXPECT_EQ(read(reader, other, 7, 4'000), other_text.substr(7, 4'000));
      }
    }
    EXPECT_EQ(read(reader, file, 0, text.size()), text);
  }
}

TEST(InputReader, KeepsFewPagesResident) {
  const TempDir dir;
  constexpr uint64_t kSize = uint64_t{64} << 20, kPiece = uint64_t{512} << 10;
  InputFile file = InputFile::open(dir.write("a", std::string(kSize, 'x')));
  file.map();
  const uint64_t before = resident_file_bytes();
  // A page of memory may be 2 MiB large, at both ends.
  const uint64_t most = before + InputReader::kResidentBytes + (uint64_t{5} << 20);
  {
    InputReader reader;
    for (uint64_t offset = 0; offset < kSize; offset += kPiece) {
      EXPECT_EQ(reader.read(file, offset, kPiece, 1)[kPiece - 1], 'x');
      EXPECT_LT(resident_file_bytes(), most) << offset;
    }
  }
  EXPECT_LT(resident_file_bytes(), before + (uint64_t{1} << 20));
}

TEST(InputReader, SaysThatAFileShrankBeforeItWasRead) {
  const TempDir dir;
  InputFile file = InputFile::open(dir.write("a", std::string(20'000, 'x')));
  file.map();
  InputReader reader;
  EXPECT_EQ(read(reader, file, 0, 10), std::string(10, 'x'));
  std::filesystem::resize_file(dir / "a", 10'000);
  for (const uint64_t size : {8'000, 1'001}) {  // beyond the last page, and within it
    const auto error = error_of([&] { read(reader, file, 9'000, size); });
    EXPECT_EQ(error->code(), ErrorCode::Io);
    EXPECT_THAT(error->what(), HasSubstr("ends at byte 10000, but had 20000 bytes"));
  }
}

TEST(InputReader, RefusesARangeBeyondTheEnd) {
  const TempDir dir;
  InputFile file = InputFile::open(dir.write("a", "0123456789"));
  file.map();
  InputReader reader;
  for (const auto& [offset, size] : {std::pair{4u, 7u}, {11u, 1u}, {~0u, 1u}}) {
    EXPECT_EQ(error_of([&] { reader.read(file, offset, size, 1); })->code(), ErrorCode::Io);
  }
  EXPECT_EQ(read(reader, file, 10, 0), "");
}

}  // namespace
}  // namespace arrow_quant
