#include "arrow_quant/io/part_reader.h"

#include <arrow/compute/cast.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "arrow_quant/io/part_table_test_util.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The table with one column cast to another type.
TablePtr with_type(const TablePtr& table, const std::string& name,
                   const std::shared_ptr<arrow::DataType>& type) {
  const int i = table->schema()->GetFieldIndex(name);
  const auto column = must(arrow::compute::Cast(table->column(i), type)).chunked_array();
  return must(table->SetColumn(i, arrow::field(name, type), column));
}

TablePtr with_nullable_columns(const TablePtr& table) {
  arrow::FieldVector fields;
  for (const auto& field : table->schema()->fields()) {
    fields.push_back(field->WithNullable(true));
  }
  return arrow::Table::Make(arrow::schema(fields), table->columns());
}

TablePtr with_large_types(TablePtr table) {
  for (const auto& field : table->schema()->fields()) {
    if (field->type()->id() == arrow::Type::STRING) {
      table = with_type(table, field->name(), arrow::large_utf8());
    } else if (field->type()->id() == arrow::Type::BINARY) {
      table = with_type(table, field->name(), arrow::large_binary());
    }
  }
  return with_type(table, "scales", arrow::large_list(arrow::float16()));
}

TablePtr with_columns_reversed(const TablePtr& table) {
  std::vector<int> order(static_cast<size_t>(table->num_columns()));
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<int>(order.size() - 1 - i);
  }
  return must(table->SelectColumns(order));
}

TablePtr with_wide_types(TablePtr table) {
  table = with_type(table, "scales", arrow::list(arrow::float32()));
  table = with_type(table, "offsets", arrow::list(arrow::float32()));
  table = with_type(table, "tensor_scale", arrow::float64());
  table = with_type(table, "input_scale", arrow::list(arrow::float64()));
  return with_type(table, "bit_width", arrow::int64());
}

TEST(PartReader, FilesThatOtherToolsRewroteHoldTheSameBlocks) {
  const TemporaryDirectory directory;
  const auto blocks = with_extras(blocks_of_every_kind());
  write_part(directory.path() / "a.parquet", blocks);
  const TablePtr table = load_table(directory.path() / "a.parquet");
  const auto plain = [] { return std::move(*Properties().disable_dictionary()); };
  const auto page_index = [&] { return std::move(*plain().enable_write_page_index()); };
  const auto zstd = [] { return std::move(*Properties().compression(arrow::Compression::ZSTD)); };
  const auto version2 = [] {
    return std::move(*Properties().data_page_version(parquet::ParquetDataPageVersion::V2));
  };
  struct Case {
    const char* name;
    TablePtr table;
    Properties properties;
    int64_t rows_per_group;
  };
  Case cases[] = {
      {"dictionaries, one row group", table, Properties(), 1000},
      {"plain, a row group each", table, plain(), 1},
      {"plain, one row group with a page index", table, page_index(), 1000},
      {"zstd", table, zstd(), 3},
      {"data pages of version 2", table, version2(), 4},
      {"nullable columns", with_nullable_columns(table), plain(), 1},
      {"large types", with_large_types(table), Properties(), 5},
      {"columns in another order", with_columns_reversed(table), plain(), 2},
      {"wider numbers", with_wide_types(table), Properties(), 1000},
  };
  for (Case& c : cases) {
    SCOPED_TRACE(c.name);
    save_table(c.table, directory.path() / "b.parquet", std::move(c.properties), c.rows_per_group);
    const PartReader reader = PartReader::open(directory.path() / "b.parquet");
    ASSERT_EQ(reader.blocks().size(), blocks.size());
    for (size_t i = 0; i < blocks.size(); ++i) {
      SCOPED_TRACE(blocks[i].header.layer_name);
      expect_equal(reader.read(i), blocks[i]);
    }
  }
}

// The files that every later version must still read. They are written anew, after a change that is
// meant, by running this test with ARROW_QUANT_WRITE_GOLDEN set.
void expect_golden(const std::string& name, std::vector<QuantizedBlock> blocks) {
  const auto path = std::filesystem::path(ARROW_QUANT_SOURCE_DIR) / "tests/golden" / name;
  std::erase_if(blocks, [](const auto& block) { return block.data_size_bytes > 10000; });
  if (std::getenv("ARROW_QUANT_WRITE_GOLDEN") != nullptr) {
    write_part(path, blocks, {{"note", "golden"}});
  }
  const PartReader reader = PartReader::open(path);
  ASSERT_EQ(reader.blocks().size(), blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    SCOPED_TRACE(blocks[i].header.layer_name);
    expect_equal(reader.read(i), blocks[i]);
  }
}

TEST(PartReader, TheGoldenFileOfVersion1Reads) {
  expect_golden("part_v1.parquet", blocks_of_every_kind());
}

TEST(PartReader, TheGoldenFileWithExtrasReads) {
  expect_golden("part_v1_extras.parquet", with_extras(blocks_of_every_kind()));
}

TEST(PartReader, AFileCutAnywhereIsAnError) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a.parquet";
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(quantized_block("w", {4, 64}, 4, 32));
  write_part(path, blocks);
  std::vector<uint8_t> bytes = read_file(path);
  while (!bytes.empty()) {
    bytes.resize(bytes.size() - std::min<size_t>(bytes.size(), 37));
    write_file(path, bytes);
    EXPECT_THAT(error_of([&] { PartReader::open(path); }),
                AllOf(HasSubstr("Metadata"), HasSubstr("a.parquet")))
        << bytes.size();
  }
}

// What a flipped bit does is not foreseen, but it is an Error or goes unnoticed (Parquet's own
// structures have no checksum; the manifest has one of the whole file). Damaged data is noticed.
bool same(const Buffer& a, const Buffer& b) {
  return std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end());
}

TEST(PartReader, DamagedBytesNeverGiveWrongDataOrAnythingButAnError) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a.parquet";
  const auto blocks = with_extras(blocks_of_every_kind());
  write_part(path, blocks);
  const std::vector<uint8_t> intact = read_file(path);
  std::mt19937 random(7);
  const size_t footer = intact.size() / 10;  // where most of the structure is
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> bytes = intact;
    for (int flips = 1 + round % 4; flips > 0; --flips) {
      const size_t place =
          round % 2 == 0 ? random() % bytes.size() : bytes.size() - 1 - random() % footer;
      bytes[place] ^= static_cast<uint8_t>(1u << random() % 8);
    }
    write_file(path, bytes);
    error_of([&] {
      const PartReader reader = PartReader::open(path);
      for (size_t i = 0; i < reader.blocks().size(); ++i) {
        const QuantizedBlock block = reader.read(i);
        const bool known = std::any_of(blocks.begin(), blocks.end(), [&](const auto& original) {
          return original.data_size_bytes == block.data_size_bytes &&
                 std::equal(block.codes(), block.codes() + block.data_size_bytes,
                            original.codes()) &&
                 same(original.scales, block.scales) && same(original.offsets, block.offsets);
        });
        EXPECT_TRUE(known) << "round " << round;
      }
    });
  }
}

}  // namespace
}  // namespace arrow_quant
