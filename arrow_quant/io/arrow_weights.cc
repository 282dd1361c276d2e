#include "arrow_quant/io/arrow_weights.h"

#include <unordered_map>
#include <utility>

#include "arrow_quant/io/arrow_columns.h"
#include "arrow_quant/io/block_checks.h"

namespace arrow_quant {
namespace {

bool is_weight(const arrow::DataType& type) {
  return type.id() == arrow::Type::FLOAT || type.id() == arrow::Type::DOUBLE ||
         type.id() == arrow::Type::HALF_FLOAT;
}

DType dtype_of(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::DOUBLE:
      return DType::F64;
    case arrow::Type::HALF_FLOAT:
      return DType::F16;
    default:
      return DType::F32;
  }
}

Error invalid(const std::string& where, const std::string& what) {
  return Error(ErrorCode::InvalidRow, where + what);
}

// Reads the rows of one batch.
class RowReader {
 public:
  RowReader(const arrow::Array& names, const arrow::Array& weights, const arrow::Array* shapes)
      : names_(names), weights_(weights), shapes_(shapes) {}

  // row: in the batch; index: in the table.
  WeightRow read(int64_t row, int64_t index) const {
    WeightRow result;
    result.name = text_at(names_, row);
    try {
      read_weights(row, index, result);
    } catch (const Error& error) {
      result.error = error;
    }
    return result;
  }

 private:
  void read_weights(int64_t row, int64_t index, WeightRow& result) const {
    const std::string where = place("weights", index, result.name);
    if (weights_.IsNull(row)) {
      throw invalid(where, " is null; give the weights of every layer");
    }
    const ListSlice slice = list_slice(weights_, row);
    if (const auto null = first_null(slice)) {
      throw invalid(
          where, ", weight " + std::to_string(*null) + " is null; give a number for every weight");
    }
    std::vector<int64_t> shape = {slice.length};
    if (shapes_ != nullptr && !shapes_->IsNull(row)) {
      shape = read_shape(row, index, result.name, slice.length);
    }
    const MatrixView view = *matrix_view(shape);
    result.weights = {address(slice), dtype_of(*slice.values->type()),
                      static_cast<size_t>(view.rows), static_cast<size_t>(view.cols)};
    result.shape = std::move(shape);
  }

  std::vector<int64_t> read_shape(int64_t row, int64_t index,
                                  const std::optional<std::string_view>& name,
                                  int64_t num_weights) const {
    const std::string where = place("shape", index, name);
    const ListSlice slice = list_slice(*shapes_, row);
    if (const auto null = first_null(slice)) {
      throw invalid(where, ", size " + std::to_string(*null) + " is null; give every size");
    }
    std::vector<int64_t> shape = integers_of(slice);
    const std::optional<MatrixView> view = matrix_view(shape);
    if (!view || view->rows * view->cols != num_weights) {
      throw Error(ErrorCode::ShapeMismatch, where + ": " + shape_text(shape) +
                                                " does not fit the row's " +
                                                std::to_string(num_weights) + " weights");
    }
    return shape;
  }

  static const uint8_t* address(const ListSlice& slice) {
    const arrow::ArrayData& data = *slice.values->data();
    const size_t bytes = static_cast<size_t>(bits_of(dtype_of(*data.type))) / 8;
    return data.buffers[1] == nullptr
               ? nullptr
               : data.buffers[1]->data() + static_cast<size_t>(data.offset + slice.begin) * bytes;
  }

  const arrow::Array& names_;
  const arrow::Array& weights_;
  const arrow::Array* shapes_;
};

// A name must be there, and be the first of its kind.
class NameCheck {
 public:
  void check(WeightRow& row, int64_t index) {
    if (!row.name || row.name->empty()) {
      const std::string found = row.name ? " is empty" : " is null";
      row.error =
          invalid(place("layer_name", index, std::nullopt), found + "; give every layer a name");
      return;
    }
    const auto [before, is_new] = first_row_.emplace(*row.name, index);
    if (!is_new) {
      row.error = invalid(
          place("layer_name", index, row.name),
          " has the name of row " + std::to_string(before->second) + "; give every layer its own");
    }
  }

 private:
  std::unordered_map<std::string_view, int64_t> first_row_;
};

}  // namespace

ArrowWeights::ArrowWeights(ArrowTable table) : table_(std::move(table)) {
  const arrow::Schema& schema = *table_.impl().schema;
  const int name_column = require_column(schema, text_column("layer_name"));
  const int weights_column =
      require_column(schema, list_column("weights", "float, double or halffloat", is_weight));
  const int shape_column =
      find_column(schema, list_column("shape", "int64 or int32", is_shape_integer));
  if (const auto& type = schema.field(weights_column)->type(); type->num_fields() == 1) {
    dtype_ = dtype_of(*type->field(0)->type());  // not of a column of nulls
  }
  rows_.reserve(static_cast<size_t>(table_.num_rows()));
  NameCheck names_seen;
  for (const auto& batch : table_.impl().batches) {
    const auto names = checked_column(*batch, name_column);
    const auto weights = checked_column(*batch, weights_column);
    const auto shapes = shape_column < 0 ? nullptr : checked_column(*batch, shape_column);
    columns_.insert(columns_.end(), {names, weights, shapes});
    const RowReader reader(*names, *weights, shapes.get());
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      const auto index = static_cast<int64_t>(rows_.size());
      rows_.push_back(reader.read(row, index));
      names_seen.check(rows_.back(), index);
    }
  }
}

}  // namespace arrow_quant
