// Columns of Arrow tables as the batch readers see them: found by name, checked once, and read row
// by row whatever the kind of list or string. Internal to io/.
#pragma once

#include <arrow/api.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/arrow_batch.h"

namespace arrow_quant {

struct ArrowTable::Impl {
  std::shared_ptr<arrow::Schema> schema;
  arrow::RecordBatchVector batches;
};

struct ArrowBatch::Impl {
  std::shared_ptr<arrow::RecordBatch> batch;
};

ArrowBatch to_arrow_batch(std::shared_ptr<arrow::RecordBatch> batch);

// Throws Error(InvalidRow) for what Arrow refuses to build.
void check_built(const arrow::Status& status);

// What a column must be.
struct ColumnKind {
  std::string name;
  std::string allowed;  // for messages: "string, large_string …"
  std::function<bool(const arrow::DataType&)> accepts;
};
ColumnKind text_column(const std::string& name);
ColumnKind list_column(const std::string& name, const std::string& values,
                       std::function<bool(const arrow::DataType&)> accepts_values);
ColumnKind integer_column(const std::string& name);
bool is_shape_integer(const arrow::DataType& type);  // int64 or int32

// Index of the column; −1 if there is none. One of type null, which tools make of no rows, has any
// kind. Throws: Error(Schema) naming column, type found and
// what is allowed, also where two columns have the name.
int find_column(const arrow::Schema& schema, const ColumnKind& kind);
// Throws Error(Schema) also if there is none.
int require_column(const arrow::Schema& schema, const ColumnKind& kind);

// Column `index` of a batch, its offsets and lengths checked against its buffers. Only buffers that
// are not aligned to their type are copied. Throws: Error(Schema).
std::shared_ptr<arrow::Array> checked_column(const arrow::RecordBatch& batch, int index);

// The elements of one row of any kind of list, as a run of its values().
struct ListSlice {
  const arrow::Array* values = nullptr;
  int64_t begin = 0;
  int64_t length = 0;
};
ListSlice list_slice(const arrow::Array& list, int64_t row);
// Index within the slice of its first null.
std::optional<int64_t> first_null(const ListSlice& slice);

// Row of a text or binary column, or of a dictionary of texts; nothing if null.
std::optional<std::string_view> text_at(const arrow::Array& column, int64_t row);
// Row of an integer column of any width; nothing if null or beyond int64.
std::optional<int64_t> integer_at(const arrow::Array& column, int64_t row);
// A list of int64 or int32 without nulls.
std::vector<int64_t> integers_of(const ListSlice& slice);

}  // namespace arrow_quant
