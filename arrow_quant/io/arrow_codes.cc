#include "arrow_quant/io/arrow_codes.h"

#include <array>
#include <string>
#include <utility>

#include "arrow_quant/io/arrow_columns.h"
#include "arrow_quant/io/block_checks.h"
#include "arrow_quant/io/quote.h"
#include "arrow_quant/io/weight_row.h"

namespace arrow_quant {
namespace {

bool is_binary(const arrow::DataType& type) {
  return type.id() == arrow::Type::BINARY || type.id() == arrow::Type::LARGE_BINARY ||
         type.id() == arrow::Type::BINARY_VIEW;
}

bool is_float(const arrow::DataType& type) {
  return type.id() == arrow::Type::FLOAT;
}

// The columns that decoding needs, in this order in every batch.
enum Column { kData, kScales, kZeroPoints, kShape, kBitWidth, kGroupSize, kNumColumns };

std::array<ColumnKind, kNumColumns> column_kinds() {
  return {ColumnKind{"quantized_data", "binary, large_binary or binary_view", is_binary},
          list_column("scales", "float", is_float),
          list_column("zero_points", "float", is_float),
          list_column("shape", "int64 or int32", is_shape_integer),
          integer_column("bit_width"),
          integer_column("group_size")};
}

using Columns = std::array<std::shared_ptr<arrow::Array>, kNumColumns>;

// One row of one batch, read and checked.
class RowReader {
 public:
  RowReader(const Columns& columns, int64_t row, int64_t index,
            const std::optional<std::string_view>& name)
      : columns_(columns), row_(row), index_(index), name_(name) {}

  void read(CodesRow& result) const {
    result.shape = integers_of(list(kShape, "shape"));
    const MatrixView view = view_of(result.shape);
    ZeroPointView codes;
    codes.rows = static_cast<size_t>(view.rows);
    codes.cols = static_cast<size_t>(view.cols);
    codes.bit_width = static_cast<BitWidth>(one_of("bit_width", kBitWidth, {2, 4, 8}));
    codes.group_size = static_cast<size_t>(one_of("group_size", kGroupSize, {32, 64, 128, 256}));
    const std::string_view data = *text_at(*columns_[kData], row_);
    expect_size("quantized_data", data.size(),
                codes.rows * packed_row_bytes(codes.cols, codes.bit_width), "bytes");
    codes.codes = reinterpret_cast<const uint8_t*>(data.data());
    const size_t groups = codes.rows * groups_per_row(codes.cols, codes.group_size);
    codes.scales = floats("scales", kScales, groups);
    if (list(kZeroPoints, "zero_points").length != 0) {
      codes.zero_points = floats("zero_points", kZeroPoints, groups);
    }
    result.codes = codes;
  }

 private:
  [[noreturn]] void fail(const char* column, const std::string& what) const {
    throw Error(ErrorCode::InvalidRow, place(column, index_, name_) + what);
  }

  ListSlice list(Column column, const char* name) const {
    if (columns_[column]->IsNull(row_)) {
      fail(name, " is null beside a row that has data");
    }
    const ListSlice slice = list_slice(*columns_[column], row_);
    if (const auto null = first_null(slice)) {
      fail(name, ", value " + std::to_string(*null) + " is null");
    }
    return slice;
  }

  MatrixView view_of(const std::vector<int64_t>& shape) const {
    const std::optional<MatrixView> view = matrix_view(shape);
    if (!view) {
      throw Error(ErrorCode::ShapeMismatch, place("shape", index_, name_) + ": " +
                                                shape_text(shape) + " is no tensor's shape");
    }
    return *view;
  }

  int64_t one_of(const char* name, Column column, std::initializer_list<int64_t> allowed) const {
    const auto value = integer_at(*columns_[column], row_);
    std::string list;
    for (const int64_t candidate : allowed) {
      if (value == candidate) {
        return candidate;
      }
      list += (list.empty() ? "" : ", ") + std::to_string(candidate);
    }
    fail(name, " is " + (value ? std::to_string(*value) : "null") + "; allowed: " + list);
  }

  void expect_size(const char* column, size_t found, size_t expected, const char* unit) const {
    if (found != expected) {
      throw Error(ErrorCode::ShapeMismatch,
                  place(column, index_, name_) + " has " + std::to_string(found) + " " + unit +
                      "; shape, bit_width and group_size ask for " + std::to_string(expected));
    }
  }

  const float* floats(const char* name, Column column, size_t expected) const {
    const ListSlice slice = list(column, name);
    expect_size(name, static_cast<size_t>(slice.length), expected, "values");
    return static_cast<const arrow::FloatArray&>(*slice.values).raw_values() + slice.begin;
  }

  const Columns& columns_;
  int64_t row_;    // in the batch
  int64_t index_;  // in the table
  const std::optional<std::string_view>& name_;
};

void check_packing(const arrow::Schema& schema) {
  if (schema.metadata() == nullptr) {
    return;  // other tools drop it
  }
  const auto packing = schema.metadata()->Get("packing");
  if (packing.ok() && *packing != "lsb_first") {
    throw Error(ErrorCode::Unsupported, "the batch's codes are packed as " + quote(*packing) +
                                            "; this version knows \"lsb_first\" only");
  }
}

}  // namespace

ArrowCodes::ArrowCodes(ArrowTable table) : table_(std::move(table)) {
  const arrow::Schema& schema = *table_.impl().schema;
  check_packing(schema);
  const std::array<ColumnKind, kNumColumns> kinds = column_kinds();
  std::array<int, kNumColumns> indices;
  for (size_t i = 0; i < kNumColumns; ++i) {
    indices[i] = require_column(schema, kinds[i]);
  }
  const int name_column = find_column(schema, text_column("layer_name"));
  rows_.reserve(static_cast<size_t>(table_.num_rows()));
  for (const auto& batch : table_.impl().batches) {
    Columns columns;
    for (size_t i = 0; i < kNumColumns; ++i) {
      columns[i] = checked_column(*batch, indices[i]);
      columns_.push_back(columns[i]);
    }
    const auto names = name_column < 0 ? nullptr : checked_column(*batch, name_column);
    columns_.push_back(names);
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      CodesRow result;
      if (names != nullptr) {
        result.name = text_at(*names, row);
      }
      if (!columns[kData]->IsNull(row)) {
        RowReader(columns, row, static_cast<int64_t>(rows_.size()), result.name).read(result);
      }
      rows_.push_back(std::move(result));
    }
  }
}

}  // namespace arrow_quant
