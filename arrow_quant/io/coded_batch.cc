#include "arrow_quant/io/coded_batch.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "arrow_quant/core/reuse.h"
#include "arrow_quant/io/arrow_build.h"

namespace arrow_quant {
namespace {

constexpr size_t kMaxListValues = std::numeric_limits<int32_t>::max();

// Sizes of one of the spans of every row.
template <class Span>
std::vector<size_t> sizes_of(std::span<const CodedRow> rows, Span CodedRow::*field) {
  std::vector<size_t> sizes;
  sizes.reserve(rows.size());
  for (const CodedRow& row : rows) {
    sizes.push_back((row.*field).size());
  }
  return sizes;
}

std::shared_ptr<arrow::Array> error_column(std::span<const CodedRow> rows) {
  std::vector<bool> failed;
  for (const CodedRow& row : rows) {
    failed.push_back(row.error.has_value());
  }
  return built_column<arrow::StringBuilder>(Validity(std::move(failed)),
                                            [&](size_t row) { return rows[row].error->what(); });
}

}  // namespace

CodedBatch::CodedBatch(std::span<const WeightRow> rows, BitWidth bit_width, size_t group_size)
    : bit_width_(bit_width), group_size_(group_size), rows_(rows.size()) {
  std::vector<size_t> code_bytes(rows.size()), params(rows.size());
  size_t all_code_bytes = 0, all_params = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows_[i].error = rows[i].error;
    if (rows[i].error) {
      continue;
    }
    const RowsView& weights = rows[i].weights;
    code_bytes[i] = weights.rows * packed_row_bytes(weights.cols, bit_width);
    params[i] = weights.rows * groups_per_row(weights.cols, group_size);
    all_code_bytes += code_bytes[i];
    all_params += params[i];
  }
  if (all_params > kMaxListValues) {
    throw Error(ErrorCode::InvalidRow,
                "the table's layers have " + std::to_string(all_params) + " groups; at most " +
                    std::to_string(kMaxListValues) +
                    " fit into one batch: split the table, or take a larger group_size");
  }
  codes_ = take_buffer(all_code_bytes);
  scales_ = take_buffer(all_params * sizeof(float));
  zero_points_ = take_buffer(all_params * sizeof(float));
  size_t code_start = 0, param_start = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows_[i].codes = codes_.bytes().subspan(code_start, code_bytes[i]);
    rows_[i].scales = scales_.as<float>().subspan(param_start, params[i]);
    rows_[i].zero_points = zero_points_.as<float>().subspan(param_start, params[i]);
    code_start += code_bytes[i];
    param_start += params[i];
  }
}

void CodedBatch::fail(size_t row, Error error) {
  CodedRow& failed = rows_[row];
  std::fill(failed.codes.begin(), failed.codes.end(), uint8_t{0});
  std::fill(failed.scales.begin(), failed.scales.end(), 0.0f);
  std::fill(failed.zero_points.begin(), failed.zero_points.end(), 0.0f);
  failed.error = std::move(error);
}

ArrowBatch CodedBatch::to_arrow(std::span<const WeightRow> layers, bool with_errors,
                                const std::string& note) && {
  const std::span<const CodedRow> rows = rows_;
  std::vector<bool> done;
  for (const CodedRow& row : rows) {
    done.push_back(!row.error.has_value());
  }
  const Validity valid(std::move(done));
  const auto codes_sizes = sizes_of(rows, &CodedRow::codes);
  const auto params_sizes = sizes_of(rows, &CodedRow::scales);
  const auto floats = arrow::list(arrow::float32());
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  const auto add = [&](const char* name, std::shared_ptr<arrow::Array> column) {
    fields.push_back(arrow::field(name, column->type()));
    columns.push_back(std::move(column));
  };
  add("layer_name", name_column(rows.size(), [&](size_t row) { return layers[row].name; }));
  add("quantized_data",
      packed_column(arrow::large_binary(), valid, codes_sizes, to_arrow_buffer(std::move(codes_))));
  add("scales", packed_column(floats, valid, params_sizes, to_arrow_buffer(std::move(scales_))));
  add("zero_points",
      packed_column(floats, valid, params_sizes, to_arrow_buffer(std::move(zero_points_))));
  add("shape", shape_column(
                   valid, [&](size_t row) -> const auto& { return layers[row].shape; }));
  add("bit_width", built_column<arrow::UInt8Builder>(
                       valid, [&](size_t) { return static_cast<uint8_t>(bit_width_); }));
  add("group_size", built_column<arrow::Int32Builder>(
                        valid, [&](size_t) { return static_cast<int32_t>(group_size_); }));
  add("cosine_similarity", built_column<arrow::FloatBuilder>(
                               valid, [&](size_t row) { return rows[row].cosine_similarity; }));
  add("sqnr_db",
      built_column<arrow::FloatBuilder>(valid, [&](size_t row) { return rows[row].sqnr_db; }));
  if (with_errors) {
    add("error", error_column(rows));
  }
  auto metadata = arrow::key_value_metadata({{"packing", "lsb_first"}});
  if (!note.empty()) {
    metadata->Append("note", note);
  }
  return to_arrow_batch(
      arrow::RecordBatch::Make(arrow::schema(std::move(fields), std::move(metadata)),
                               static_cast<int64_t>(rows.size()), std::move(columns)));
}

}  // namespace arrow_quant
