#include "arrow_quant/io/arrow_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "arrow_quant/io/arrow_test_util.h"
#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using arrow::float16;
using arrow::float32;
using arrow::float64;
using arrow::int32;
using arrow::int64;
using arrow::utf8;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::shared_ptr<arrow::DataType>> kinds_of_list(
    const std::shared_ptr<arrow::DataType>& values, int32_t size) {
  return {arrow::list(values), arrow::large_list(values), arrow::list_view(values),
          arrow::large_list_view(values), arrow::fixed_size_list(values, size)};
}

// The array that a list column's rows look into.
std::shared_ptr<arrow::Array> values_of(const std::shared_ptr<arrow::Array>& list) {
  return arrow::MakeArray(list->data()->child_data[0]);
}

std::shared_ptr<arrow::RecordBatch> two_layers(std::shared_ptr<arrow::Array> weights) {
  return batch_of({{"layer_name", column_of(utf8(), R"(["a", "b"])")}, {"weights", weights}}, 2);
}

std::vector<float> floats(const WeightRow& row) {
  const auto* data = static_cast<const float*>(row.weights.data);
  return {data, data + row.weights.rows * row.weights.cols};
}

TEST(ArrowWeights, EveryKindOfListIsReadInPlace) {
  for (const auto& type : kinds_of_list(float32(), 3)) {
    const auto weights = column_of(type, "[[1, 2, 3], [4, 5, 6]]");
    const auto values = std::static_pointer_cast<arrow::FloatArray>(values_of(weights));
    const ArrowWeights read(table_of({two_layers(weights)}));
    ASSERT_EQ(read.rows().size(), 2u) << type->ToString();
    EXPECT_EQ(read.dtype(), DType::F32);
    EXPECT_EQ(read.rows()[0].weights.data, values->raw_values()) << type->ToString();
    EXPECT_EQ(read.rows()[1].weights.data, values->raw_values() + 3) << type->ToString();
    EXPECT_THAT(floats(read.rows()[1]), ElementsAre(4, 5, 6));
  }
}

TEST(ArrowWeights, SlicesAreReadFromTheirOffsets) {
  for (const auto& type : kinds_of_list(float32(), 2)) {
    const auto names = column_of(utf8(), R"(["w", "x", "y", "z"])");
    const auto weights = column_of(type, "[[1, 2], [3, 4], [5, 6], [7, 8]]");
    const auto shapes = column_of(arrow::list(int64()), "[[2], [1, 2], [2, 1], [2]]");
    const auto all = batch_of({{"layer_name", names}, {"weights", weights}, {"shape", shapes}}, 4);
    const auto slice = all->Slice(1, 2);
    for (const bool as_stream : {false, true}) {
      const ArrowWeights read(as_stream ? table_of({slice}) : array_of(*slice));
      ASSERT_EQ(read.rows().size(), 2u) << type->ToString();
      EXPECT_EQ(read.rows()[0].name, "x");
      EXPECT_THAT(floats(read.rows()[0]), ElementsAre(3, 4)) << type->ToString();
      EXPECT_THAT(read.rows()[0].shape, ElementsAre(1, 2));
      EXPECT_THAT(floats(read.rows()[1]), ElementsAre(5, 6)) << type->ToString();
      EXPECT_THAT(read.rows()[1].shape, ElementsAre(2, 1));
    }
  }
}

TEST(ArrowWeights, EveryKindOfStringIsAName) {
  const std::string json = R"(["a", "a name that does not fit into a view"])";
  std::vector<std::shared_ptr<arrow::Array>> kinds = {column_of(utf8(), json),
                                                      column_of(arrow::large_utf8(), json),
                                                      column_of(arrow::utf8_view(), json)};
  for (const auto& index : {arrow::int8(), arrow::uint32()}) {
    kinds.push_back(arrow::json::DictArrayFromJSONString(arrow::dictionary(index, utf8()), "[1, 0]",
                                                         R"(["a name that does not fit into a )"
                                                         R"(view", "a"])")
                        .ValueOrDie());
  }
  for (const auto& names : kinds) {
    const auto weights = column_of(arrow::list(float32()), "[[1], [2]]");
    const ArrowWeights read(table_of({batch_of({{"layer_name", names}, {"weights", weights}}, 2)}));
    EXPECT_EQ(read.rows()[0].name, "a") << names->type()->ToString();
    EXPECT_EQ(read.rows()[1].name, "a name that does not fit into a view");
  }
}

TEST(ArrowWeights, OtherFloatsKeepTheirType) {
  for (const auto& [type, dtype] : {std::pair{float64(), DType::F64}, {float16(), DType::F16}}) {
    const auto weights = column_of(arrow::list(type), "[[1, 2], [3]]");
    const ArrowWeights read(table_of({two_layers(weights)}));
    EXPECT_EQ(read.dtype(), dtype);
    EXPECT_EQ(read.rows()[1].weights.dtype, dtype);
    const uint8_t* const values = values_of(weights)->data()->buffers[1]->data();
    EXPECT_EQ(read.rows()[1].weights.data, values + 2 * static_cast<size_t>(bits_of(dtype)) / 8);
  }
}

TEST(ArrowWeights, EveryKindOfShapeGivesTheView) {
  for (const auto& integer : {int64(), int32()}) {
    for (const auto& type : kinds_of_list(integer, 3)) {
      const auto batch =
          batch_of({{"layer_name", column_of(utf8(), R"(["a", "b"])")},
                    {"weights", column_of(arrow::list(float32()), "[[1, 2, 3, 4, 5, 6], [1, 2]]")},
                    {"shape", column_of(type, "[[2, 3, 1], null]")}},
                   2);
      const ArrowWeights read(table_of({batch}));
      EXPECT_THAT(read.rows()[0].shape, ElementsAre(2, 3, 1)) << type->ToString();
      EXPECT_EQ(read.rows()[0].weights.rows, 2u);
      EXPECT_EQ(read.rows()[0].weights.cols, 3u);
      EXPECT_THAT(read.rows()[1].shape, ElementsAre(2));
      EXPECT_EQ(read.rows()[1].weights.rows, 1u);
    }
  }
}

TEST(ArrowWeights, RowsAreCountedOverAllBatches) {
  const auto names = [](const char* json) { return column_of(utf8(), json); };
  const auto weights = [](const char* json) { return column_of(arrow::list(float32()), json); };
  const auto first =
      batch_of({{"layer_name", names(R"(["a", "b"])")}, {"weights", weights("[[1], [2]]")}}, 2);
  const auto second =
      batch_of({{"layer_name", names(R"(["c", "a"])")}, {"weights", weights("[[3], [4]]")}}, 2);
  const ArrowWeights read(table_of({first, first->Slice(0, 0), second}));
  ASSERT_EQ(read.rows().size(), 4u);
  EXPECT_THAT(floats(read.rows()[2]), ElementsAre(3));
  ASSERT_TRUE(read.rows()[3].error);
  EXPECT_STREQ(
      read.rows()[3].error->what(),
      "column 'layer_name', row 3 (\"a\") has the name of row 0; give every layer its own");
}

TEST(ArrowWeights, NoRowsAreFine) {
  const auto batch = two_layers(column_of(arrow::list(float32()), "[[1], [2]]"));
  const auto none = arrow::RecordBatchReader::Make({}, batch->schema()).ValueOrDie();
  EXPECT_TRUE(ArrowWeights(stream_of(none)).rows().empty());
  EXPECT_TRUE(ArrowWeights(table_of({batch->Slice(0, 0)})).rows().empty());
}

TEST(ArrowWeights, ColumnsOfTypeNullAreNullInEveryRow) {
  const auto nulls = column_of(arrow::null(), "[null, null]");
  for (const int64_t num_rows : {0, 2}) {
    const auto part = nulls->Slice(0, num_rows);
    const ArrowWeights read(
        table_of({batch_of({{"layer_name", part}, {"weights", part}, {"shape", part}}, num_rows)}));
    ASSERT_EQ(read.rows().size(), static_cast<size_t>(num_rows));
    for (const WeightRow& row : read.rows()) {
      EXPECT_THAT(row.error->what(), HasSubstr("is null; give every layer a name"));
    }
  }
}

TEST(ArrowWeights, BadRowsAreNamed) {
  struct Case {
    const char* name;
    const char* weights;
    const char* shape;
    ErrorCode code;
    const char* message;
  };
  const Case cases[] = {
      {"null", "[1]", "null", ErrorCode::InvalidRow,
       "column 'layer_name', row 1 is null; give every layer a name"},
      {R"("")", "[1]", "null", ErrorCode::InvalidRow,
       "column 'layer_name', row 1 is empty; give every layer a name"},
      {R"("b")", "null", "null", ErrorCode::InvalidRow,
       "column 'weights', row 1 (\"b\") is null; give the weights of every layer"},
      {R"("b")", "[1, 2, null]", "null", ErrorCode::InvalidRow,
       "column 'weights', row 1 (\"b\"), weight 2 is null; give a number for every weight"},
      {R"("b")", "[1, 2]", "[2, null]", ErrorCode::InvalidRow,
       "column 'shape', row 1 (\"b\"), size 1 is null; give every size"},
      {R"("b")", "[1, 2]", "[2, 3]", ErrorCode::ShapeMismatch,
       "column 'shape', row 1 (\"b\"): [2, 3] does not fit the row's 2 weights"},
      {R"("b")", "[1, 2]", "[]", ErrorCode::ShapeMismatch,
       "column 'shape', row 1 (\"b\"): [] does not fit the row's 2 weights"},
      {R"("b")", "[1, 2]", "[-1, -2]", ErrorCode::ShapeMismatch,
       "column 'shape', row 1 (\"b\"): [-1, -2] does not fit the row's 2 weights"},
      {R"("b")", "[]", "[4294967296, 4294967296]", ErrorCode::ShapeMismatch,
       "column 'shape', row 1 (\"b\"): [4294967296, 4294967296] does not fit the row's 0 weights"},
  };
  for (const Case& c : cases) {
    const std::string names = std::string(R"(["a", )") + c.name + R"(, "c"])";
    const std::string weights = std::string("[[7], ") + c.weights + ", [8, 9]]";
    const std::string shapes = std::string("[null, ") + c.shape + ", [2]]";
    const ArrowWeights read(
        table_of({batch_of({{"layer_name", column_of(utf8(), names)},
                            {"weights", column_of(arrow::list(float32()), weights)},
                            {"shape", column_of(arrow::list(int64()), shapes)}},
                           3)}));
    ASSERT_EQ(read.rows().size(), 3u);
    ASSERT_TRUE(read.rows()[1].error) << c.message;
    EXPECT_STREQ(read.rows()[1].error->what(), c.message);
    EXPECT_EQ(read.rows()[1].error->code(), c.code) << c.message;
    EXPECT_FALSE(read.rows()[0].error || read.rows()[2].error) << c.message;
  }
}

TEST(ArrowWeights, BadSchemasAreNamed) {
  const auto names = column_of(utf8(), R"(["a"])");
  const auto weights = column_of(arrow::list(float32()), "[[1]]");
  const auto numbers = column_of(int64(), "[1]");
  struct Case {
    std::vector<NamedColumn> columns;
    std::vector<std::string> message;
  };
  const Case cases[] = {
      {{{"weights", weights}, {"x", numbers}},
       {"no column 'layer_name'", "string_view", "its columns: weights, x"}},
      {{{"layer_name", names}}, {"no column 'weights'", "fixed_size_list"}},
      {{{"layer_name", numbers}, {"weights", weights}},
       {"column 'layer_name' has type int64; allowed: string, large_string"}},
      {{{"layer_name", names}, {"weights", numbers}},
       {"column 'weights' has type int64; allowed: list, large_list"}},
      {{{"layer_name", names}, {"weights", column_of(arrow::list(int32()), "[[1]]")}},
       {"column 'weights' has type list<item: int32>", "of float, double or halffloat"}},
      {{{"layer_name", names}, {"weights", weights}, {"shape", numbers}},
       {"column 'shape' has type int64", "of int64 or int32"}},
      {{{"layer_name", names}, {"weights", weights}, {"weights", weights}},
       {"2 columns named 'weights'"}},
  };
  for (const Case& c : cases) {
    const auto error = error_of([&] { ArrowWeights read(table_of({batch_of(c.columns, 1)})); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::Schema);
    for (const std::string& part : c.message) {
      EXPECT_THAT(error->what(), HasSubstr(part));
    }
  }
}

TEST(ArrowWeights, OffsetsBeyondTheValuesAreAnError) {
  const auto offsets = arrow::Buffer::FromVector<int32_t>({0, 1000});
  const auto values = column_of(float32(), "[1, 2, 3]");
  const auto weights =
      std::make_shared<arrow::ListArray>(arrow::list(float32()), 1, offsets, values);
  const auto error = error_of([&] {
    ArrowWeights read(table_of(
        {batch_of({{"layer_name", column_of(utf8(), R"(["a"])")}, {"weights", weights}}, 1)}));
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::Schema);
  EXPECT_THAT(error->what(), HasSubstr("column 'weights' breaks Arrow's rules"));
}

TEST(ArrowWeights, TheTableLivesExactlyAsLongAsItsReader) {
  auto weights = column_of(arrow::list(float32()), "[[1, 2], [3]]");
  const std::weak_ptr<arrow::Buffer> buffer = weights->data()->child_data[0]->buffers[1];
  {
    ArrowTable table = table_of({two_layers(std::exchange(weights, nullptr))});
    EXPECT_EQ(table.num_rows(), 2);
    const ArrowWeights read(std::move(table));
    EXPECT_THAT(floats(read.rows()[0]), ElementsAre(1, 2));
    EXPECT_FALSE(buffer.expired());
  }
  EXPECT_TRUE(buffer.expired());
}

class FailingReader : public arrow::RecordBatchReader {
 public:
  std::shared_ptr<arrow::Schema> schema() const override { return arrow::schema({}); }
  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>*) override {
    return arrow::Status::IOError("the disk is on fire");
  }
};

TEST(ArrowTable, AProducersFailureKeepsItsMessage) {
  const auto error = error_of([] { stream_of(std::make_shared<FailingReader>()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::InvalidModel);
  EXPECT_THAT(error->what(),
              AllOf(HasSubstr("the Arrow stream failed"), HasSubstr("the disk is on fire")));
}

TEST(ArrowTable, AColumnAloneIsNoTable) {
  ArrowArray array;
  ArrowSchema schema;
  ASSERT_TRUE(arrow::ExportArray(*column_of(float32(), "[1]"), &array, &schema).ok());
  const auto error = error_of([&] { ArrowTable::from_array(&array, &schema); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::Schema);
  EXPECT_THAT(error->what(), HasSubstr("give a table, a record batch, or a stream"));
}

}  // namespace
}  // namespace arrow_quant
