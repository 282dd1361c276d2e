// What a reader says of parts whose columns do not hold what they should.
#include <arrow/util/key_value_metadata.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "arrow_quant/io/part_table_test_util.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(AlteredPart, UnalteredItReads) {
  EXPECT_EQ(error_reading(table_), "");
}

TEST_F(AlteredPart, WhatIsNotUnderstoodIsRefusedByName) {
  const struct {
    const char *column, *json, *named;
  } cases[] = {
      {"transforms", R"([["rotation"], []])", "rotation"},
      {"transforms", R"([[], ["rotation"]])", "rotation"},
      {"packing", R"(["msb_first", ""])", "msb_first"},
      {"packing", R"(["lsb_first", "gzip"])", "gzip"},
      {"param_encoding", R"(["fp8", ""])", "fp8"},
      {"quant_type", R"(["nf4", "none"])", "nf4"},
      {"quant_axis", "[0, 0]", "quant_axis"},
      {"group_size", "[48, 0]", "48"},
      {"dtype", R"(["BF16", "F12"])", "F12"},
      {"bias_encoding", R"(["fp8", ""])", "fp8"},
      {"act_bits", "[5, 0]", "act_bits is 5"},
      {"act_mode", R"(["guessed", ""])", "guessed"},
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
      {"transforms", R"([["hadamard"], []])", "hadamard_block is 0"},
      {"transforms", R"([["low_rank"], []])", "rank is 0"},
      {"transforms", R"([["input_scale"], []])", "'input_scale' has 0 values, expected 64"},
      {"hadamard_block", "[64, 0]", "hadamard_block is 64, expected 0"},
      {"hadamard_block", "[-2, 0]", "hadamard_block is -2"},
      {"hadamard_block", "[0, 64]", "a kept tensor"},
      {"rank", "[8, 0]", "rank is 8, expected 0"},
      {"low_rank_u", R"(["xx", ""])", "'low_rank_u' has 2 bytes, expected 0"},
      {"low_rank_v", R"(["xx", ""])", "'low_rank_v' has 2 bytes, expected 0"},
      {"input_scale", "[[1.0], []]", "'input_scale' has 1 values, expected 0"},
      {"bias_corrections", R"(["12345678", ""])", "expected 0 without bias_encoding"},
      {"bias_encoding", R"(["fp16", ""])", "bias_corrections is 0 bytes long"},
      {"act_bits", "[8, 0]", "act_mode is ''"},
      {"act_mode", R"(["dynamic", ""])", "act_mode is 'dynamic'"},
      {"act", R"([[{"clip": 1, "scale": 1, "zero_point": 0}], []])", "act is 1 values long"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(error_with(c.column, c.json),
                AllOf(HasSubstr("Metadata"), HasSubstr(c.named), HasSubstr("a.parquet")))
        << c.column << " " << c.json;
  }
}

// The same with every extra.
class AlteredExtras : public AlteredPart {
 protected:
  AlteredExtras() {
    std::vector<QuantizedBlock> blocks;
    blocks.push_back(quantized_block("w", {4, 64}, 4, 32));
    add_hadamard(blocks[0], 32);
    add_low_rank(blocks[0], 1);
    add_input_scale(blocks[0]);
    add_bias(blocks[0], 1);
    add_activation(blocks[0], ActMode::Dynamic, 8, 1);
    blocks.push_back(kept_block("k", {3}, DType::F32));
    write_part(path_, blocks);
    table_ = load_table(path_);
  }
};

TEST_F(AlteredExtras, DamageIsAnErrorThatNamesTheColumn) {
  EXPECT_EQ(error_reading(table_), "");
  const struct {
    const char *column, *json, *named;
  } cases[] = {
      {"transforms", "[[], []]", "hadamard_block is 32, expected 0"},
      {"transforms", R"([["low_rank", "hadamard", "input_scale"], []])", "transforms is [low_rank"},
      {"transforms", R"([["hadamard", "hadamard"], []])", "transforms is [hadamard, hadamard]"},
      {"hadamard_block", "[48, 0]", "hadamard_block is 48"},
      {"hadamard_block", "[128, 0]", "hadamard_block is 128"},
      {"rank", "[0, 0]", "rank is 0"},
      {"rank", "[2, 0]", "'low_rank_u' has 8 bytes, expected 16"},
      {"rank", "[2147483647, 0]", "rank is 2147483647"},
      {"rank", "[9223372036854775807, 0]", "rank is 9223372036854775807"},
      {"low_rank_u", R"(["", ""])", "'low_rank_u' has 0 bytes, expected 8"},
      {"low_rank_v", R"(["12345678", ""])", "'low_rank_v' has 8 bytes, expected 128"},
      {"input_scale", "[[1, 2], []]", "'input_scale' has 2 values, expected 64"},
      {"bias_corrections", R"(["1234567", ""])", "bias_corrections is 7 bytes"},
      {"bias_encoding", R"(["", ""])", "expected 0 without bias_encoding"},
      {"act_mode", R"(["", ""])", "act_mode is ''"},
      {"act", "[[], []]", "act is 0 values long"},
      {"act", R"([[{"clip": -1, "scale": 1, "zero_point": 0}], []])", "act is {-1.0"},
      {"act", R"([[{"clip": 1, "scale": 1, "zero_point": NaN}], []])", "act is {1.0"},
      {"block_index", "[1, 0]", "act_bits is 8, expected 0"},
  };
  for (const auto& c : cases) {
    const auto type = std::string(c.column) == "rank" ? arrow::int64() : nullptr;
    EXPECT_THAT(error_with(c.column, c.json, type),
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
      {"low_rank_u", arrow::int32(), "[0, 0]"},
      {"bias_corrections", arrow::int32(), "[0, 0]"},
      {"input_scale", arrow::list(arrow::int32()), "[[], []]"},
      {"act", arrow::list(arrow::float32()), "[[], []]"},
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
      {"arrow_quant.required_features", R"(["hadamard", "bias_corrections"])", "", ""},
      {"arrow_quant.required_features", R"(["hadamard", "sparse"])", "Unsupported", "sparse"},
      {"arrow_quant.required_features", "[1]", "Unsupported", "1"},
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

}  // namespace
}  // namespace arrow_quant
