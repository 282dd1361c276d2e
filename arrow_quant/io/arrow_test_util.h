// What the tests of the Arrow readers share: columns from JSON, and tables that go through the
// Arrow C Data Interface as those of other libraries do.
#pragma once

#include <arrow/api.h>
#include <arrow/c/bridge.h>
#include <arrow/json/from_string.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/io/arrow_batch.h"

namespace arrow_quant {

inline std::shared_ptr<arrow::Array> column_of(const std::shared_ptr<arrow::DataType>& type,
                                               const std::string& json) {
  return arrow::json::ArrayFromJSONString(type, json).ValueOrDie();
}

struct NamedColumn {
  std::string name;
  std::shared_ptr<arrow::Array> column;
};

inline std::shared_ptr<arrow::RecordBatch> batch_of(const std::vector<NamedColumn>& named,
                                                    int64_t num_rows) {
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (const NamedColumn& one : named) {
    fields.push_back(arrow::field(one.name, one.column->type()));
    columns.push_back(one.column);
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), num_rows, columns);
}

inline ArrowTable stream_of(std::shared_ptr<arrow::RecordBatchReader> reader) {
  ArrowArrayStream stream;
  EXPECT_TRUE(arrow::ExportRecordBatchReader(std::move(reader), &stream).ok());
  return ArrowTable::from_stream(&stream);
}

// The batches as a stream.
inline ArrowTable table_of(const arrow::RecordBatchVector& batches) {
  return stream_of(arrow::RecordBatchReader::Make(batches, batches[0]->schema()).ValueOrDie());
}

// One batch as an array of structs.
inline ArrowTable array_of(const arrow::RecordBatch& batch) {
  ArrowArray array;
  ArrowSchema schema;
  EXPECT_TRUE(arrow::ExportRecordBatch(batch, &array, &schema).ok());
  return ArrowTable::from_array(&array, &schema);
}

inline std::shared_ptr<arrow::RecordBatch> imported(const ArrowBatch& batch) {
  const auto array = batch.array();
  const auto schema = batch.schema();
  return arrow::ImportRecordBatch(array.get(), schema.get()).ValueOrDie();
}

}  // namespace arrow_quant
