#include "arrow_quant/io/arrow_columns.h"

#include <arrow/util/align_util.h>

#include <utility>

#include "arrow_quant/io/quote.h"

namespace arrow_quant {
namespace {

bool is_text(const arrow::DataType& type) {
  return type.id() == arrow::Type::STRING || type.id() == arrow::Type::LARGE_STRING ||
         type.id() == arrow::Type::STRING_VIEW;
}

bool is_text_or_dictionary(const arrow::DataType& type) {
  return is_text(type) || (type.id() == arrow::Type::DICTIONARY &&
                           is_text(*static_cast<const arrow::DictionaryType&>(type).value_type()));
}

bool is_list(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
    case arrow::Type::LIST_VIEW:
    case arrow::Type::LARGE_LIST_VIEW:
      return true;
    default:
      return false;
  }
}

// Calls visit(array) with the array as the class of its kind of list.
template <class Visit>
auto visit_list(const arrow::Array& list, Visit visit) {
  switch (list.type_id()) {
    case arrow::Type::LIST:
      return visit(static_cast<const arrow::ListArray&>(list));
    case arrow::Type::LARGE_LIST:
      return visit(static_cast<const arrow::LargeListArray&>(list));
    case arrow::Type::LIST_VIEW:
      return visit(static_cast<const arrow::ListViewArray&>(list));
    case arrow::Type::LARGE_LIST_VIEW:
      return visit(static_cast<const arrow::LargeListViewArray&>(list));
    default:
      return visit(static_cast<const arrow::FixedSizeListArray&>(list));
  }
}

// Row of an array of this class; nothing where an unsigned value exceeds int64.
template <class Array>
std::optional<int64_t> value_at(const arrow::Array& column, int64_t row) {
  const auto value = static_cast<const Array&>(column).Value(row);
  return std::in_range<int64_t>(value) ? std::optional<int64_t>(static_cast<int64_t>(value))
                                       : std::nullopt;
}

}  // namespace

ArrowBatch to_arrow_batch(std::shared_ptr<arrow::RecordBatch> batch) {
  return ArrowBatch(std::make_shared<ArrowBatch::Impl>(std::move(batch)));
}

void check_built(const arrow::Status& status) {
  if (!status.ok()) {
    throw Error(ErrorCode::InvalidRow, "cannot build the Arrow batch: " + status.message());
  }
}

ColumnKind text_column(const std::string& name) {
  return {name, "string, large_string, string_view or a dictionary of these",
          is_text_or_dictionary};
}

ColumnKind list_column(const std::string& name, const std::string& values,
                       std::function<bool(const arrow::DataType&)> accepts_values) {
  return {name, "list, large_list, fixed_size_list, list_view or large_list_view of " + values,
          [accepts = std::move(accepts_values)](const arrow::DataType& type) {
            return is_list(type) && accepts(*type.field(0)->type());
          }};
}

ColumnKind integer_column(const std::string& name) {
  return {name, "an integer type",
          [](const arrow::DataType& type) { return arrow::is_integer(type.id()); }};
}

bool is_shape_integer(const arrow::DataType& type) {
  return type.id() == arrow::Type::INT64 || type.id() == arrow::Type::INT32;
}

int find_column(const arrow::Schema& schema, const ColumnKind& kind) {
  const std::vector<int> found = schema.GetAllFieldIndices(kind.name);
  if (found.empty()) {
    return -1;
  }
  if (found.size() > 1) {
    throw Error(ErrorCode::Schema, "the table has " + std::to_string(found.size()) +
                                       " columns named '" + kind.name + "'; one is allowed");
  }
  const arrow::DataType& type = *schema.field(found[0])->type();
  if (type.id() != arrow::Type::NA && !kind.accepts(type)) {
    throw Error(ErrorCode::Schema, "column '" + kind.name + "' has type " +
                                       printable(type.ToString()) + "; allowed: " + kind.allowed);
  }
  return found[0];
}

int require_column(const arrow::Schema& schema, const ColumnKind& kind) {
  const int index = find_column(schema, kind);
  if (index < 0) {
    std::string names;
    for (const std::string& name : schema.field_names()) {
      names += (names.empty() ? "" : ", ") + printable(name);
    }
    throw Error(ErrorCode::Schema, "the table has no column '" + kind.name + "' (" + kind.allowed +
                                       "); its columns: " + (names.empty() ? "none" : names));
  }
  return index;
}

std::shared_ptr<arrow::Array> checked_column(const arrow::RecordBatch& batch, int index) {
  const std::shared_ptr<arrow::Array> column = batch.column(index);
  arrow::Status status = column->ValidateFull();
  if (status.ok()) {
    auto aligned = arrow::util::EnsureAlignment(column, arrow::util::kValueAlignment,
                                                arrow::default_memory_pool());
    if (aligned.ok()) {
      return *std::move(aligned);
    }
    status = aligned.status();
  }
  throw Error(ErrorCode::Schema, "column '" + batch.schema()->field(index)->name() +
                                     "' breaks Arrow's rules: " + printable(status.message()));
}

ListSlice list_slice(const arrow::Array& list, int64_t row) {
  return visit_list(list, [row](const auto& array) -> ListSlice {
    return {array.values().get(), array.value_offset(row), array.value_length(row)};
  });
}

std::optional<int64_t> first_null(const ListSlice& slice) {
  if (slice.values->null_count() == 0) {
    return std::nullopt;
  }
  for (int64_t i = 0; i < slice.length; ++i) {
    if (slice.values->IsNull(slice.begin + i)) {
      return i;
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> text_at(const arrow::Array& column, int64_t row) {
  if (column.IsNull(row)) {
    return std::nullopt;
  }
  switch (column.type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return static_cast<const arrow::BinaryArray&>(column).GetView(row);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return static_cast<const arrow::LargeBinaryArray&>(column).GetView(row);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      return static_cast<const arrow::BinaryViewArray&>(column).GetView(row);
    default: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(column);
      return text_at(*dictionary.dictionary(), dictionary.GetValueIndex(row));
    }
  }
}

std::optional<int64_t> integer_at(const arrow::Array& column, int64_t row) {
  if (column.IsNull(row)) {
    return std::nullopt;
  }
  switch (column.type_id()) {
    case arrow::Type::INT8:
      return value_at<arrow::Int8Array>(column, row);
    case arrow::Type::UINT8:
      return value_at<arrow::UInt8Array>(column, row);
    case arrow::Type::INT16:
      return value_at<arrow::Int16Array>(column, row);
    case arrow::Type::UINT16:
      return value_at<arrow::UInt16Array>(column, row);
    case arrow::Type::INT32:
      return value_at<arrow::Int32Array>(column, row);
    case arrow::Type::UINT32:
      return value_at<arrow::UInt32Array>(column, row);
    case arrow::Type::UINT64:
      return value_at<arrow::UInt64Array>(column, row);
    default:
      return value_at<arrow::Int64Array>(column, row);
  }
}

std::vector<int64_t> integers_of(const ListSlice& slice) {
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(slice.length));
  for (int64_t i = slice.begin; i < slice.begin + slice.length; ++i) {
    values.push_back(slice.values->type_id() == arrow::Type::INT32
                         ? static_cast<const arrow::Int32Array&>(*slice.values).Value(i)
                         : static_cast<const arrow::Int64Array&>(*slice.values).Value(i));
  }
  return values;
}

}  // namespace arrow_quant
