#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/part_reader.h"
#include "arrow_quant/io/part_test_util.h"
#include "arrow_quant/io/part_writer.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST(PartWriter, EveryBlockComesBackAsItWasWritten) {
  const TemporaryDirectory directory;
  const auto blocks = blocks_of_every_kind();
  const PartInfo info = write_part(directory.path() / "a.parquet", blocks);

  const PartReader reader = PartReader::open(directory.path() / "a.parquet");
  ASSERT_EQ(reader.blocks().size(), blocks.size());
  ASSERT_EQ(info.blocks.size(), blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    SCOPED_TRACE(blocks[i].header.layer_name);
    expect_equal(reader.read(i), blocks[i]);
    EXPECT_EQ(reader.stored_bytes()[i], info.blocks[i].stored_bytes);
    EXPECT_EQ(info.blocks[i].layer_name, blocks[i].header.layer_name);
  }
}

TEST(PartWriter, MetadataCarriesVersionFeaturesAndWhatTheCallerGave) {
  const TemporaryDirectory directory;
  write_part(directory.path() / "a.parquet", blocks_of_every_kind(), {{"tool", "x"}});
  const std::map<std::string, std::string> expected = {
      {"arrow_quant.format_version", "1"}, {"arrow_quant.required_features", "[]"}, {"tool", "x"}};
  EXPECT_EQ(PartReader::open(directory.path() / "a.parquet").metadata(), expected);
}

TEST(PartWriter, AFileWithoutBlocksIsAFile) {
  const TemporaryDirectory directory;
  write_part(directory.path() / "a.parquet", {});
  EXPECT_TRUE(PartReader::open(directory.path() / "a.parquet").blocks().empty());
}

TEST(PartWriter, TheHashIsThatOfTheFileAndTheSameBlocksMakeTheSameBytes) {
  const TemporaryDirectory directory;
  const PartInfo a = write_part(directory.path() / "a.parquet", blocks_of_every_kind());
  const PartInfo b = write_part(directory.path() / "b.parquet", blocks_of_every_kind());
  const std::vector<uint8_t> bytes = read_file(directory.path() / "a.parquet");
  EXPECT_EQ(bytes, read_file(directory.path() / "b.parquet"));
  EXPECT_EQ(a.size_bytes, bytes.size());
  Xxh3_128 hash;
  hash.update(bytes);
  EXPECT_EQ(a.xxh3_128, hash.hex_digest());
  EXPECT_EQ(a.xxh3_128, b.xxh3_128);
}

TEST(PartWriter, QuantizedAndLargeKeptBlocksHaveRowGroupsOfTheirOwnSmallOnesShare) {
  const TemporaryDirectory directory;
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(quantized_block("q1", {4, 128}, 4, 32));
  for (int i = 0; i < 300; ++i) {
    blocks.push_back(kept_block("small" + std::to_string(i), {3}, DType::F32));
  }
  blocks.push_back(kept_block("just below", {(int64_t{64} << 10) - 1}, DType::U8));
  blocks.push_back(kept_block("large", {int64_t{64} << 10}, DType::U8));
  blocks.push_back(kept_block("last", {1}, DType::U8));
  const PartInfo info = write_part(directory.path() / "a.parquet", blocks);

  std::map<int32_t, int64_t> rows;
  for (size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(info.blocks[i].row, rows[info.blocks[i].row_group]++);
  }
  const std::map<int32_t, int64_t> expected = {{0, 1}, {1, 256}, {2, 45}, {3, 1}, {4, 1}};
  EXPECT_EQ(rows, expected);

  const PartReader reader = PartReader::open(directory.path() / "a.parquet");
  for (const size_t i : {0, 1, 2, 256, 257, 300, 301, 302, 303}) {
    expect_equal(reader.read(i), blocks[i]);
  }
}

TEST(PartWriter, CodesLieInTheFileAsTheyAreBehindTheirLength) {
  const TemporaryDirectory directory;
  const auto block = quantized_block("w", {64, 256}, 4, 128);
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(copy_of(block));
  write_part(directory.path() / "a.parquet", blocks);
  const std::vector<uint8_t> bytes = read_file(directory.path() / "a.parquet");
  const auto found =
      std::search(bytes.begin(), bytes.end(), block.codes(), block.codes() + block.data_size_bytes);
  ASSERT_NE(found, bytes.end());
  uint32_t length = 0;
  std::memcpy(&length, &*found - 4, 4);
  EXPECT_EQ(length, block.data_size_bytes);
}

TEST(PartWriter, ReadingOneBlockReadsNoOther) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "a.parquet";
  auto blocks = blocks_of_every_kind();
  write_part(path, blocks);
  const PartReader reader = PartReader::open(path);
  // Every other block's data is damaged; those read must not notice.
  std::vector<uint8_t> bytes = read_file(path);
  for (size_t i = 1; i < blocks.size(); i += 2) {
    if (blocks[i].data_size_bytes >= 16) {
      const auto found = std::search(bytes.begin(), bytes.end(), blocks[i].codes(),
                                     blocks[i].codes() + blocks[i].data_size_bytes);
      ASSERT_NE(found, bytes.end());
      *found ^= 1;
    }
  }
  write_file(path, bytes);  // the same file: the reader has it open
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i % 2 == 0) {
      expect_equal(reader.read(i), blocks[i]);
    } else if (blocks[i].data_size_bytes >= 16) {
      EXPECT_THAT(error_of([&] { reader.read(i); }),
                  AllOf(HasSubstr("Metadata"), HasSubstr("checksum"),
                        HasSubstr(blocks[i].header.layer_name)));
    }
  }
}

TEST(PartWriter, ThreadsMayReadAtOnce) {
  const TemporaryDirectory directory;
  const auto blocks = blocks_of_every_kind();
  write_part(directory.path() / "a.parquet", blocks);
  const PartReader reader = PartReader::open(directory.path() / "a.parquet");
  std::vector<std::thread> threads;
  std::atomic<int> equal = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < blocks.size(); ++i) {
        const QuantizedBlock block = reader.read(i);
        equal += std::memcmp(block.codes(), blocks[i].codes(), blocks[i].data_size_bytes) == 0;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(equal, 4 * static_cast<int>(blocks.size()));
}

TEST(PartWriter, MillionsOfParametersComeBack) {
  const TemporaryDirectory directory;
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(quantized_block("w", {1500, 32 * 1000}, 2, 32));  // 1.5 million groups
  write_part(directory.path() / "a.parquet", blocks);
  expect_equal(PartReader::open(directory.path() / "a.parquet").read(0), blocks[0]);
}

TEST(PartWriter, NothingStandsBeforeFinishAndNothingIsLeftWithoutIt) {
  const TemporaryDirectory directory;
  {
    PartWriter writer(directory.path() / "a.parquet", {});
    writer.append(quantized_block("w", {4, 128}, 4, 32));
    EXPECT_THAT(names_in(directory.path()), testing::ElementsAre(".a.parquet.tmp"));
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST(PartWriter, AFinishedPartReplacesTheOneOfThatName) {
  const TemporaryDirectory directory;
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(quantized_block("w", {4, 128}, 4, 32));
  write_part(directory.path() / "a.parquet", blocks_of_every_kind());
  write_part(directory.path() / "a.parquet", blocks);
  EXPECT_EQ(PartReader::open(directory.path() / "a.parquet").blocks().size(), 1u);
}

TEST(PartWriter, AMissingDirectoryIsAnIoErrorThatNamesIt) {
  EXPECT_THAT(error_of([] { PartWriter("/nonexistent/a.parquet", {}); }),
              AllOf(HasSubstr("Io"), HasSubstr("/nonexistent/"), HasSubstr("No such file")));
  EXPECT_THAT(error_of([] { PartReader::open("/nonexistent/a.parquet"); }),
              AllOf(HasSubstr("Io"), HasSubstr("/nonexistent/a.parquet")));
  EXPECT_THAT(error_of([] { PartReader::open("/"); }), HasSubstr("Io"));
}

// A file-size limit stands for a full disk: both make write(2) fail midway.
TEST(PartWriter, AFullDiskIsAnIoErrorAndLeavesNothing) {
  const TemporaryDirectory directory;
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1 << 20, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::string first, second;
  int error_number = 0;
  {
    PartWriter writer(directory.path() / "a.parquet", {});
    first = error_of(
        [&] {
          writer.append(quantized_block("w", {4096, 1024}, 4, 128));
        },
        &error_number);
    second = error_of([&] { writer.finish(); });
  }
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, old_handler);
  EXPECT_THAT(first, AllOf(HasSubstr("Io"), HasSubstr("a.parquet"), HasSubstr("too large")));
  EXPECT_EQ(error_number, EFBIG);
  EXPECT_THAT(second, HasSubstr("Io"));
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST(PartWriter, ABlockThatParquetCannotHoldIsRefused) {
  const TemporaryDirectory directory;
  PartWriter writer(directory.path() / "a.parquet", {});
  QuantizedBlock block = kept_block("huge", {8}, DType::U8);
  block.data_size_bytes = size_t{1} << 31;
  EXPECT_THAT(error_of([&] { writer.append(std::move(block)); }),
              AllOf(HasSubstr("Unsupported"), HasSubstr("huge")));
}

// With parameters that do not compress. The row group and the footer are the container's own bytes.
TEST(PartWriter, StoredBitsPerWeightStayBelowTheirBounds) {
  const TemporaryDirectory directory;
  for (const auto& [bits, bound] : {std::pair{2, 2.26}, {4, 4.26}, {8, 8.26}}) {
    std::vector<QuantizedBlock> blocks;
    blocks.push_back(quantized_block("w", {1024, 1024}, bits, 128));
    fill(blocks[0].scales.data(), blocks[0].scales.size_bytes(), 1);
    fill(blocks[0].offsets.data(), blocks[0].offsets.size_bytes(), 2);
    const PartInfo info = write_part(directory.path() / "a.parquet", blocks);
    const double weights = 1024.0 * 1024.0;
    EXPECT_LE(8.0 * static_cast<double>(info.blocks[0].stored_bytes) / weights, bound);
    EXPECT_LE(static_cast<int64_t>(info.size_bytes) - info.blocks[0].stored_bytes, 10000);
  }
}

}  // namespace
}  // namespace arrow_quant
