#include "arrow_quant/io/coded_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>

#include "arrow_quant/io/arrow_codes.h"
#include "arrow_quant/io/arrow_test_util.h"
#include "arrow_quant/io/io_test_util.h"
#include "arrow_quant/io/weight_batch.h"

namespace arrow_quant {
namespace {

using arrow::float32;
using arrow::int64;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A row of one layer; no weights are behind it.
WeightRow layer(std::string_view name, std::vector<int64_t> shape, size_t rows, size_t cols) {
  WeightRow row;
  row.name = name;
  row.shape = std::move(shape);
  row.weights = {nullptr, DType::F32, rows, cols};
  return row;
}

const Error kBad(ErrorCode::InvalidRow, "a bad row");

// Two layers: [2, 40] in groups of 32, of 20 bytes and 2 groups a row, and [3].
std::vector<WeightRow> two_layers() {
  return {layer("fc", {2, 40}, 2, 40), layer("norm", {3}, 1, 3)};
}

// A batch of these layers with made-up contents.
CodedBatch coded(std::span<const WeightRow> layers) {
  CodedBatch batch(layers, BitWidth::Int4, 32);
  for (CodedRow& row : batch.rows()) {
    std::iota(row.codes.begin(), row.codes.end(), uint8_t{1});
    std::iota(row.scales.begin(), row.scales.end(), 0.5f);
    std::iota(row.zero_points.begin(), row.zero_points.end(), -1.0f);
    row.cosine_similarity = 0.75f;
    row.sqnr_db = 20.0f;
  }
  return batch;
}

TEST(CodedBatch, HasTheColumnsOfTheFormat) {
  const auto layers = two_layers();
  const auto batch = imported(coded(layers).to_arrow(layers, false, "said"));
  const auto expected =
      batch_of({{"layer_name", column_of(arrow::utf8(), R"(["fc", "norm"])")},
                {"quantized_data", batch->GetColumnByName("quantized_data")},
                {"scales", column_of(arrow::list(float32()), "[[0.5, 1.5, 2.5, 3.5], [0.5]]")},
                {"zero_points", column_of(arrow::list(float32()), "[[-1, 0, 1, 2], [-1]]")},
                {"shape", column_of(arrow::list(int64()), "[[2, 40], [3]]")},
                {"bit_width", column_of(arrow::uint8(), "[4, 4]")},
                {"group_size", column_of(arrow::int32(), "[32, 32]")},
                {"cosine_similarity", column_of(float32(), "[0.75, 0.75]")},
                {"sqnr_db", column_of(float32(), "[20, 20]")}},
               2);
  EXPECT_TRUE(batch->Equals(*expected)) << batch->ToString();
  const auto& codes =
      static_cast<const arrow::LargeBinaryArray&>(*batch->GetColumnByName("quantized_data"));
  EXPECT_EQ(codes.GetView(0).size(), 40u);
  EXPECT_EQ(codes.GetView(1), "\x01\x02");
  EXPECT_TRUE(batch->ValidateFull().ok());
  EXPECT_THAT(batch->schema()->metadata()->keys(), ElementsAre("packing", "note"));
  EXPECT_THAT(batch->schema()->metadata()->values(), ElementsAre("lsb_first", "said"));
}

TEST(CodedBatch, HandsOutTheBuffersThatWereWritten) {
  const auto layers = two_layers();
  CodedBatch batch = coded(layers);
  const uint8_t* const codes = batch.rows()[1].codes.data();
  const float* const scales = batch.rows()[1].scales.data();
  const float* const zero_points = batch.rows()[1].zero_points.data();
  const auto arrow = imported(std::move(batch).to_arrow(layers, false, ""));
  const auto& data =
      static_cast<const arrow::LargeBinaryArray&>(*arrow->GetColumnByName("quantized_data"));
  EXPECT_EQ(reinterpret_cast<const uint8_t*>(data.GetView(1).data()), codes);
  for (const auto& [name, address] : {std::pair{"scales", scales}, {"zero_points", zero_points}}) {
    const auto& list = static_cast<const arrow::ListArray&>(*arrow->GetColumnByName(name));
    const auto& values = static_cast<const arrow::FloatArray&>(*list.values());
    EXPECT_EQ(values.raw_values() + list.value_offset(1), address) << name;
  }
}

TEST(CodedBatch, ExportsOutliveTheBatchAndEachOther) {
  const auto layers = two_layers();
  std::shared_ptr<arrow::RecordBatch> first, second;
  {
    const ArrowBatch batch = coded(layers).to_arrow(layers, false, "");
    EXPECT_EQ(batch.num_rows(), 2);
    first = imported(batch);
    ArrowArray array;
    ArrowSchema schema;
    batch.export_to(&array, &schema);
    second = arrow::ImportRecordBatch(&array, &schema).ValueOrDie();
  }
  EXPECT_TRUE(first->Equals(*second));
  first.reset();
  EXPECT_TRUE(second->ValidateFull().ok());
}

TEST(CodedBatch, RowsWithErrorsAreNullAndZeroed) {
  std::vector<WeightRow> layers = two_layers();
  layers.push_back({std::nullopt, {}, {}, kBad});
  CodedBatch batch = coded(layers);
  batch.fail(0, Error(ErrorCode::InvalidRow, "found later"));
  EXPECT_THAT(batch.rows()[0].codes, ::testing::Each(0));
  EXPECT_THAT(batch.rows()[0].scales, ::testing::Each(0.0f));
  const auto arrow = imported(std::move(batch).to_arrow(layers, true, ""));
  EXPECT_TRUE(arrow->ValidateFull().ok());
  EXPECT_TRUE(arrow->GetColumnByName("layer_name")
                  ->Equals(column_of(arrow::utf8(), R"(["fc", "norm", null])")));
  EXPECT_TRUE(arrow->GetColumnByName("error")->Equals(
      column_of(arrow::utf8(), R"(["found later", null, "a bad row"])")));
  for (int i = 1; i + 1 < arrow->num_columns(); ++i) {
    const std::string& name = arrow->column_name(i);
    EXPECT_TRUE(arrow->column(i)->IsNull(0)) << name;
    EXPECT_TRUE(arrow->column(i)->IsValid(1)) << name;
    EXPECT_TRUE(arrow->column(i)->IsNull(2)) << name;
  }
}

TEST(CodedBatch, NoRowsAreFine) {
  const auto arrow = imported(CodedBatch({}, BitWidth::Int2, 64).to_arrow({}, false, ""));
  EXPECT_EQ(arrow->num_rows(), 0);
  EXPECT_TRUE(arrow->ValidateFull().ok());
}

ArrowCodes reread(const ArrowBatch& batch) {
  return ArrowCodes(array_of(*imported(batch)));
}

TEST(ArrowCodes, AreReadInPlace) {
  std::vector<WeightRow> layers = two_layers();
  layers.push_back({"gone", {}, {}, kBad});
  CodedBatch batch = coded(layers);
  const std::vector<CodedRow> written(batch.rows().begin(), batch.rows().end());
  const ArrowCodes read = reread(std::move(batch).to_arrow(layers, true, ""));
  ASSERT_EQ(read.rows().size(), 3u);
  for (size_t i = 0; i < 2; ++i) {
    const CodesRow& row = read.rows()[i];
    EXPECT_EQ(row.name, layers[i].name);
    EXPECT_EQ(row.shape, layers[i].shape);
    ASSERT_TRUE(row.codes);
    EXPECT_EQ(row.codes->codes, written[i].codes.data());
    EXPECT_EQ(row.codes->scales, written[i].scales.data());
    EXPECT_EQ(row.codes->zero_points, written[i].zero_points.data());
    EXPECT_EQ(row.codes->rows, layers[i].weights.rows);
    EXPECT_EQ(row.codes->cols, layers[i].weights.cols);
    EXPECT_EQ(row.codes->bit_width, BitWidth::Int4);
    EXPECT_EQ(row.codes->group_size, 32u);
  }
  EXPECT_EQ(read.rows()[2].name, "gone");
  EXPECT_FALSE(read.rows()[2].codes);
}

// Columns of one row with 4 weights of 8 bits, as other tools may write them.
std::vector<NamedColumn> other_columns() {
  return {{"quantized_data", column_of(arrow::binary_view(), R"(["abcd"])")},
          {"scales", column_of(arrow::large_list(float32()), "[[0.5]]")},
          {"zero_points", column_of(arrow::list_view(float32()), "[[]]")},
          {"shape", column_of(arrow::fixed_size_list(arrow::int32(), 2), "[[2, 2]]")},
          {"bit_width", column_of(int64(), "[8]")},
          {"group_size", column_of(arrow::uint16(), "[32]")}};
}

TEST(ArrowCodes, TakeWhateverTypesOtherToolsLeave) {
  // Two rows of two weights have a group each.
  std::vector<NamedColumn> columns = other_columns();
  columns[1].column = column_of(arrow::large_list(float32()), "[[0.5, 0.25]]");
  const ArrowCodes read(table_of({batch_of(columns, 1)}));
  const CodesRow& row = read.rows()[0];
  EXPECT_FALSE(row.name);
  EXPECT_THAT(row.shape, ElementsAre(2, 2));
  EXPECT_EQ(row.codes->zero_points, nullptr);
  EXPECT_EQ(row.codes->scales[1], 0.25f);
  EXPECT_EQ(row.codes->bit_width, BitWidth::Int8);
}

TEST(ArrowCodes, WhatContradictsItselfIsNamed) {
  struct Case {
    size_t column;
    std::shared_ptr<arrow::Array> value;
    ErrorCode code;
    const char* message;
  };
  const Case cases[] = {
      {0, column_of(arrow::binary(), R"(["abc"])"), ErrorCode::ShapeMismatch,
       "column 'quantized_data', row 0 has 3 bytes; shape, bit_width and group_size ask for 4"},
      {1, column_of(arrow::list(float32()), "[[1]]"), ErrorCode::ShapeMismatch,
       "column 'scales', row 0 has 1 values; shape, bit_width and group_size ask for 2"},
      {1, column_of(arrow::list(float32()), "[[1, null]]"), ErrorCode::InvalidRow,
       "column 'scales', row 0, value 1 is null"},
      {1, column_of(arrow::list(float32()), "[null]"), ErrorCode::InvalidRow,
       "column 'scales', row 0 is null beside a row that has data"},
      {1, column_of(float32(), "[1]"), ErrorCode::Schema, "column 'scales' has type float"},
      {2, column_of(arrow::list(float32()), "[[1, 2, 3]]"), ErrorCode::ShapeMismatch,
       "column 'zero_points', row 0 has 3 values"},
      {3, column_of(arrow::list(int64()), "[[-1, 4]]"), ErrorCode::ShapeMismatch,
       "column 'shape', row 0: [-1, 4] is no tensor's shape"},
      {3, column_of(arrow::list(int64()), "[[2305843009213693952]]"), ErrorCode::ShapeMismatch,
       "column 'shape', row 0: [2305843009213693952] is no tensor's shape"},
      {4, column_of(int64(), "[3]"), ErrorCode::InvalidRow,
       "column 'bit_width', row 0 is 3; allowed: 2, 4, 8"},
      {4, column_of(arrow::uint64(), "[18446744073709551615]"), ErrorCode::InvalidRow,
       "column 'bit_width', row 0 is null"},
      {5, column_of(int64(), "[512]"), ErrorCode::InvalidRow,
       "column 'group_size', row 0 is 512; allowed: 32, 64, 128, 256"},
      {5, column_of(int64(), "[null]"), ErrorCode::InvalidRow,
       "column 'group_size', row 0 is null"},
      {5, column_of(float32(), "[32]"), ErrorCode::Schema,
       "column 'group_size' has type float; allowed: an integer type"},
  };
  for (const Case& c : cases) {
    std::vector<NamedColumn> columns = other_columns();
    columns[1].column = column_of(arrow::list(float32()), "[[0.5, 0.25]]");
    columns[c.column].column = c.value;
    const auto error = error_of([&] { ArrowCodes read(table_of({batch_of(columns, 1)})); });
    ASSERT_TRUE(error) << c.message;
    EXPECT_THAT(error->what(), HasSubstr(c.message));
    EXPECT_EQ(error->code(), c.code) << c.message;
  }
}

TEST(ArrowCodes, AnUnknownPackingIsRefused) {
  const auto batch =
      batch_of(other_columns(), 1)
          ->ReplaceSchemaMetadata(arrow::key_value_metadata({{"packing", "interleaved"}}));
  const auto error = error_of([&] { ArrowCodes read(table_of({batch})); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::Unsupported);
  EXPECT_THAT(error->what(), HasSubstr("\"interleaved\""));
}

TEST(WeightBatch, HasTheWeightsWhereTheyWereWritten) {
  std::vector<CodesRow> layers(3);
  layers[0] = {"fc", {2, 2}, ZeroPointView{nullptr, nullptr, nullptr, 2, 2}};
  layers[1].name = "gone";
  layers[2] = {"norm", {1}, ZeroPointView{nullptr, nullptr, nullptr, 1, 1}};
  WeightBatch batch(layers);
  const std::span<float> last = batch.rows()[2];
  std::iota(batch.rows()[0].begin(), batch.rows()[0].end(), 1.0f);
  last[0] = 9.0f;
  const auto arrow = imported(std::move(batch).to_arrow(layers));
  const auto expected =
      batch_of({{"layer_name", column_of(arrow::utf8(), R"(["fc", "gone", "norm"])")},
                {"weights", column_of(arrow::list(float32()), "[[1, 2, 3, 4], null, [9]]")},
                {"shape", column_of(arrow::list(int64()), "[[2, 2], null, [1]]")}},
               3);
  EXPECT_TRUE(arrow->Equals(*expected)) << arrow->ToString();
  const auto& weights = static_cast<const arrow::ListArray&>(*arrow->column(1));
  EXPECT_EQ(static_cast<const arrow::FloatArray&>(*weights.values()).raw_values() + 4, last.data());
}

}  // namespace
}  // namespace arrow_quant
