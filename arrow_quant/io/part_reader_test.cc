#include "arrow_quant/io/part_reader.h"

#include <arrow/compute/cast.h>
#include <arrow/io/file.h>
#include <arrow/json/from_string.h>
#include <arrow/table.h>
#include <arrow/util/key_value_metadata.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "arrow_quant/io/part_test_util.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using TablePtr = std::shared_ptr<arrow::Table>;
using Properties = parquet::WriterProperties::Builder;

template <class T>
T must(arrow::Result<T> result) {
  if (!result.ok()) {
    throw std::runtime_error(result.status().ToString());
  }
  return *std::move(result);
}

void must(const arrow::Status& status) {
  if (!status.ok()) {
    throw std::runtime_error(status.ToString());
  }
}

TablePtr load_table(const std::filesystem::path& path) {
  const auto file = must(arrow::io::ReadableFile::Open(path.string()));
  const auto reader = must(parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
  return must(reader->ReadTable());
}

void save_table(const TablePtr& table, const std::filesystem::path& path, Properties properties,
                int64_t rows_per_group = 1 << 20) {
  const auto file = must(arrow::io::FileOutputStream::Open(path.string()));
  must(parquet::arrow::WriteTable(
      *table, arrow::default_memory_pool(), file, rows_per_group, properties.build(),
      parquet::ArrowWriterProperties::Builder().store_schema()->build()));
  must(file->Close());
}

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
  return with_type(table, "bit_width", arrow::int64());
}

TEST(PartReader, FilesThatOtherToolsRewroteHoldTheSameBlocks) {
  const TemporaryDirectory directory;
  const auto blocks = blocks_of_every_kind();
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

// The file that every later version must still read. It is written anew, after a change that is
// meant, by running this test with ARROW_QUANT_WRITE_GOLDEN set.
TEST(PartReader, TheGoldenFileOfVersion1Reads) {
  const std::filesystem::path path =
      std::filesystem::path(ARROW_QUANT_SOURCE_DIR) / "tests/golden/part_v1.parquet";
  auto blocks = blocks_of_every_kind();
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

// One quantized and one kept tensor, row by row, with one column replaced.
class AlteredPart : public testing::Test {
 protected:
  AlteredPart() {
    std::vector<QuantizedBlock> blocks;
    blocks.push_back(quantized_block("w", {4, 64}, 4, 32));
    blocks.push_back(kept_block("k", {3}, DType::F32));
    write_part(path_, blocks);
    table_ = load_table(path_);
  }

  // What opening, then reading both blocks, throws once column `name` holds `json`.
  std::string error_with(const std::string& name, const std::string& json,
                         std::shared_ptr<arrow::DataType> type = nullptr) {
    const int i = table_->schema()->GetFieldIndex(name);
    const auto field = table_->schema()->field(i);
    type = type ? type : field->type();
    const auto array = must(arrow::json::ArrayFromJSONString(type, json));
    const auto column = std::make_shared<arrow::ChunkedArray>(array);
    return error_reading(must(table_->SetColumn(i, arrow::field(name, type), column)));
  }

  std::string error_reading(const TablePtr& table) {
    save_table(table, path_, Properties());
    return error_of([&] {
      const PartReader reader = PartReader::open(path_);
      reader.read(0);
      reader.read(1);
    });
  }

  const TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "a.parquet";
  TablePtr table_;
};

TEST_F(AlteredPart, UnalteredItReads) {
  EXPECT_EQ(error_reading(table_), "");
}

TEST_F(AlteredPart, WhatIsNotUnderstoodIsRefusedByName) {
  const struct {
    const char *column, *json, *named;
  } cases[] = {
      {"transforms", R"([["hadamard"], []])", "hadamard"},
      {"hadamard_block", "[64, 0]", "hadamard_block"},
      {"packing", R"(["msb_first", ""])", "msb_first"},
      {"packing", R"(["lsb_first", "gzip"])", "gzip"},
      {"param_encoding", R"(["fp8", ""])", "fp8"},
      {"quant_type", R"(["nf4", "none"])", "nf4"},
      {"quant_axis", "[0, 0]", "quant_axis"},
      {"group_size", "[48, 0]", "48"},
      {"dtype", R"(["BF16", "F12"])", "F12"},
      {"low_rank_u", R"(["x", ""])", "low_rank_u"},
      {"low_rank_v", R"(["x", ""])", "low_rank_v"},
      {"rank", "[8, 0]", "rank"},
      {"input_scale", "[[1.0], []]", "input_scale"},
      {"bias_corrections", R"(["x", ""])", "bias_corrections"},
      {"bias_encoding", R"(["fp16", ""])", "fp16"},
      {"act_bits", "[8, 0]", "act_bits"},
      {"act_mode", R"(["dynamic", ""])", "dynamic"},
      {"act", R"([[{"clip": 1, "scale": 1, "zero_point": 0}], []])", "'act'"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(error_with(c.column, c.json),
                AllOf(HasSubstr("Unsupported"), HasSubstr(c.named), HasSubstr("a.parquet")))
        << c.column;
  }
}

TEST_F(AlteredPart, ContradictionsAreErrorsThatNameTheColumn) {
  const struct {
    const char *column, *json, *named;
  } cases[] = {
      {"bit_width", "[8, 32]", "bit_width"},
      {"bit_width", "[4, 16]", "bit_width"},
      {"tensor_scale", "[1.5, 1]", "tensor_scale"},
      {"tensor_scale", "[0, 1]", "tensor_scale"},
      {"tensor_scale", "[-1, 1]", "tensor_scale"},
      {"shape", "[[4, 63], [3]]", "num_params"},
      {"shape", "[[4, -64], [3]]", "shape"},
      {"shape", "[[4611686018427387904, 64], [3]]", "shape"},
      {"shape", "[[8, 64], [3]]", "4 of 8 rows"},
      {"row_start", "[1, 0]", "row_start"},
      {"row_start", "[-1, 0]", "row_start"},
      {"row_count", "[5, 1]", "row_count"},
      {"row_count", "[3, 1]", "num_params"},
      {"row_count", "[9223372036854775807, 1]", "row_count"},
      {"num_params", "[255, 3]", "num_params"},
      {"block_index", "[1, 0]", "block 0"},
      {"layer_name", R"(["w", "w"])", "stands twice"},
      {"dtype", R"(["I64", "F32"])", "dtype"},
      {"dtype", R"(["BF16", "F64"])", "bit_width"},
      {"checksum", "[1, 2]", "checksum"},
      {"data", R"(["short", "123456789012"])", "data"},
      {"group_size", "[64, 0]", "scales"},
      {"scales", "[[1, 1, 1, 1, 1, 1, 1], []]", "scales"},
      {"scales", "[[1, 1, 1, 1, 1, 1, 1, 0], []]", "scale"},
      {"scales", "[[1, 1, 1, 1, 1, 1, 1, -1], []]", "scale"},
      {"scales", "[[1, 1, 1, 1, 1, 1, 1, Inf], []]", "scale"},
      {"offsets", "[[], []]", "offsets"},
      {"scales", "[[1, 1, 1, 1, 1, 1, 1, 1], [1]]", "scales"},
      {"offsets", "[[1, 1, 1, 1, 1, 1, 1, 1], [1]]", "offsets"},
      {"tensor_scale", "[1, 2]", "tensor_scale"},
      {"offsets", "[[1, 1, 1, 1, 1, 1, 1, NaN], []]", "offset"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(error_with(c.column, c.json),
                AllOf(HasSubstr("Metadata"), HasSubstr(c.named), HasSubstr("a.parquet")))
        << c.column << " " << c.json;
  }
}

TEST_F(AlteredPart, ColumnsOfAnotherKindAreErrorsThatNameThem) {
  const struct {
    const char* column;
    std::shared_ptr<arrow::DataType> type;
    const char* json;
  } cases[] = {
      {"layer_name", arrow::int32(), "[1, 2]"},
      {"layer_name", arrow::utf8(), R"([null, "k"])"},
      {"layer_name", arrow::list(arrow::utf8()), R"([["w"], []])"},
      {"row_count", arrow::utf8(), R"(["4", "1"])"},
      {"row_count", arrow::int64(), "[4, null]"},
      {"tensor_scale", arrow::int32(), "[1, 1]"},
      {"is_diffusion_model", arrow::int32(), "[1, 1]"},
      {"shape", arrow::list(arrow::int64()), "[[4, null], [3]]"},
      {"shape", arrow::list(arrow::list(arrow::int64())), "[[[4, 64]], [[3]]]"},
      {"data", arrow::int32(), "[1, 1]"},
      {"data", arrow::binary(), "[null, null]"},
      {"scales", arrow::list(arrow::int32()), "[[1], []]"},
      {"scales", arrow::list(arrow::float32()), "[[1, 1, 1, 1, 1, 1, 1, 1.0001], []]"},
      {"transforms", arrow::list(arrow::int32()), "[[], []]"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(error_with(c.column, c.json, c.type),
                AllOf(HasSubstr("Metadata"), HasSubstr(c.column), HasSubstr("a.parquet")))
        << c.column << " " << c.json;
  }
}

TEST_F(AlteredPart, AMissingColumnIsNamed) {
  for (const auto& name : table_->schema()->field_names()) {
    const int i = table_->schema()->GetFieldIndex(name);
    EXPECT_THAT(error_reading(must(table_->RemoveColumn(i))),
                AllOf(HasSubstr("Metadata"), HasSubstr("'" + name + "'")));
  }
}

TEST_F(AlteredPart, AnUnknownColumnDoesNoHarm) {
  const auto array = must(arrow::json::ArrayFromJSONString(arrow::int32(), "[1, 2]"));
  EXPECT_EQ(error_reading(must(table_->AddColumn(3, arrow::field("note", arrow::int32()),
                                                 std::make_shared<arrow::ChunkedArray>(array)))),
            "");
}

TEST_F(AlteredPart, NewerVersionsAndUnknownFeaturesAreRefused) {
  const struct {
    const char *key, *value, *code, *named;
  } cases[] = {
      {"arrow_quant.format_version", "1", "", ""},
      {"arrow_quant.format_version", "2", "Unsupported", "format version 2"},
      {"arrow_quant.format_version", "2", "Unsupported", "up to 1"},
      {"arrow_quant.format_version", "0", "Metadata", "'0'"},
      {"arrow_quant.format_version", "1.5", "Metadata", "'1.5'"},
      {"arrow_quant.format_version", "", "Metadata", "''"},
      {"arrow_quant.required_features", "[]", "", ""},
      {"arrow_quant.required_features", R"(["sparse"])", "Unsupported", "sparse"},
      {"arrow_quant.required_features", "sparse", "Metadata", "sparse"},
  };
  for (const auto& c : cases) {
    const auto entries = arrow::KeyValueMetadata::Make({c.key}, {c.value});
    EXPECT_THAT(error_reading(table_->ReplaceSchemaMetadata(entries)),
                AllOf(HasSubstr(c.code), HasSubstr(c.named)))
        << c.key << " " << c.value;
  }
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

// What a flipped bit does is not foreseen, but it is an Error or goes unnoticed (names, notes and
// the like have no checksum; the manifest has one of the whole file). Damaged data is noticed.
TEST(PartReader, DamagedBytesNeverGiveWrongDataOrAnythingButAnError) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a.parquet";
  const auto blocks = blocks_of_every_kind();
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
                 std::equal(block.codes(), block.codes() + block.data_size_bytes, original.codes());
        });
        EXPECT_TRUE(known) << "round " << round;
      }
    });
  }
}

}  // namespace
}  // namespace arrow_quant
