#include "arrow_quant/io/part_rows.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/leaf_reader.h"
#include "arrow_quant/io/parquet_schema.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {
namespace {

// A weight seen as [rows, cols] = [out, in·…]; [] and [n] as one row.
struct View {
  int64_t rows = 1;
  int64_t cols = 1;
};

// Nothing where a dimension is negative or the sizes leave 64 bits.
std::optional<View> view_of(const std::vector<int64_t>& shape) {
  constexpr int64_t kMaxElements = std::numeric_limits<int64_t>::max() / 64;  // sizes in bits fit
  View view;
  int64_t product = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0 || (shape[i] > 0 && product > kMaxElements / shape[i])) {
      return std::nullopt;
    }
    product *= std::max<int64_t>(shape[i], 1);
    (i == 0 && shape.size() > 1 ? view.rows : view.cols) *= shape[i];
  }
  return view;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

class RowGroupRows {
 public:
  RowGroupRows(parquet::RowGroupReader& row_group, const PartColumns& columns,
               const std::string& file)
      : row_group_(row_group), columns_(columns), file_(file) {}

  std::vector<PartRow> read();

 private:
  template <class F>
  auto column(const std::string& name, F values) const {
    return std::invoke(values, LeafReader(row_group_, columns_.leaf(name), name, file_));
  }
  auto integers(const std::string& name) const { return column(name, &LeafReader::integers); }
  auto floats(const std::string& name) const { return column(name, &LeafReader::floats); }
  auto strings(const std::string& name) const { return column(name, &LeafReader::strings); }
  auto optional_floats(const std::string& name) const {
    return column(name, &LeafReader::optional_floats);
  }

  [[noreturn]] void fail(size_t row, ErrorCode code, const std::string& problem) const;
  [[noreturn]] void contradicts(size_t row, const std::string& column, const std::string& value,
                                const std::string& allowed) const;
  template <class T>
  void set_int(T& out, size_t row, const char* column, int64_t value) const;

  void read_places();
  void read_types();
  void read_notes();
  void refuse_unknown_encodings() const;
  void refuse_unknown_features() const;
  void refuse_text(const std::string& column, const std::string& kind) const;
  void refuse_elements(const std::string& column, const std::string& kind) const;
  void refuse_numbers(const std::string& column, const std::string& kind) const;
  void check(size_t row);
  void check_kind(size_t row) const;

  parquet::RowGroupReader& row_group_;
  const PartColumns& columns_;
  const std::string& file_;
  std::vector<PartRow> rows_;
  std::vector<std::string> quant_types_;
};

void RowGroupRows::fail(size_t row, ErrorCode code, const std::string& problem) const {
  const BlockHeader& header = rows_[row].header;
  throw Error(code, file_ + ": tensor '" + header.layer_name + "', block " +
                        std::to_string(header.block_index) + ": " + problem);
}

void RowGroupRows::contradicts(size_t row, const std::string& column, const std::string& value,
                               const std::string& allowed) const {
  fail(row, ErrorCode::Metadata, column + " is " + value + ", expected " + allowed);
}

template <class T>
void RowGroupRows::set_int(T& out, size_t row, const char* column, int64_t value) const {
  if (!std::in_range<T>(value)) {
    contradicts(row, column, std::to_string(value), "an integer within its type's range");
  }
  out = static_cast<T>(value);
}

// Which tensor, and which of its rows.
void RowGroupRows::read_places() {
  auto names = strings("layer_name");
  const auto shapes = column("shape", &LeafReader::integer_lists);
  const auto indices = integers("block_index");
  const auto starts = integers("row_start");
  const auto counts = integers("row_count");
  const auto params = integers("num_params");
  rows_.resize(names.size());
  for (size_t i = 0; i < rows_.size(); ++i) {
    BlockHeader& header = rows_[i].header;
    header.layer_name = std::move(names[i]);
    const auto shape = shapes.row(i);
    header.shape.assign(shape.begin(), shape.end());
    set_int(header.block_index, i, "block_index", indices[i]);
    header.row_start = starts[i];
    header.row_count = counts[i];
    header.num_params = params[i];
  }
}

// How its values are stored.
void RowGroupRows::read_types() {
  const auto dtypes = strings("dtype");
  quant_types_ = strings("quant_type");
  const auto bits = integers("bit_width");
  const auto group_sizes = integers("group_size");
  const auto tensor_scales = floats("tensor_scale");
  const auto checksums = integers("checksum");
  for (size_t i = 0; i < rows_.size(); ++i) {
    BlockHeader& header = rows_[i].header;
    const std::optional<DType> dtype = parse_dtype(dtypes[i]);
    if (!dtype) {
      fail(i, ErrorCode::Unsupported,
           "dtype is '" + dtypes[i] + "', which this version does not know");
    }
    header.dtype = *dtype;
    header.quantized = quant_types_[i] != "none";
    set_int(header.bit_width, i, "bit_width", bits[i]);
    set_int(header.group_size, i, "group_size", group_sizes[i]);
    header.tensor_scale = tensor_scales[i];
    rows_[i].checksum = static_cast<uint64_t>(checksums[i]);
  }
}

// What is for people.
void RowGroupRows::read_notes() {
  auto methods = strings("method");
  auto reasons = strings("kept_reason");
  auto modalities = strings("modality");
  auto components = strings("component");
  const auto diffusion = column("is_diffusion_model", &LeafReader::booleans);
  const auto cosines = optional_floats("cosine_similarity");
  const auto sqnrs = optional_floats("sqnr_db");
  const auto errors = optional_floats("max_abs_error");
  for (size_t i = 0; i < rows_.size(); ++i) {
    BlockHeader& header = rows_[i].header;
    header.method = std::move(methods[i]);
    header.kept_reason = std::move(reasons[i]);
    header.modality = std::move(modalities[i]);
    header.component = std::move(components[i]);
    header.is_diffusion_model = diffusion[i] != 0;
    header.cosine_similarity = cosines[i];
    header.sqnr_db = sqnrs[i];
    header.max_abs_error = errors[i];
  }
}

void RowGroupRows::refuse_unknown_encodings() const {
  const auto packings = strings("packing");
  const auto encodings = strings("param_encoding");
  const auto axes = integers("quant_axis");
  for (size_t i = 0; i < rows_.size(); ++i) {
    const bool quantized = rows_[i].header.quantized;
    const std::string_view packing = quantized ? kPackingLsbFirst : std::string_view();
    if (packings[i] != packing) {
      fail(i, ErrorCode::Unsupported,
           "packing is '" + packings[i] + "', this version knows '" + std::string(packing) +
               "' here");
    }
    const std::string_view encoding = quantized ? kParamEncodingFp16 : std::string_view();
    if (encodings[i] != encoding) {
      fail(i, ErrorCode::Unsupported,
           "param_encoding is '" + encodings[i] + "', this version knows '" +
               std::string(encoding) + "' here");
    }
    if (axes[i] != (quantized ? 1 : 0)) {
      fail(i, ErrorCode::Unsupported,
           "quant_axis is " + std::to_string(axes[i]) + ", this version knows 1 (0 where kept)");
    }
  }
}

void RowGroupRows::refuse_text(const std::string& column, const std::string& kind) const {
  const auto texts = strings(column);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!texts[i].empty()) {
      fail(i, ErrorCode::Unsupported, "has " + kind + ", which this version cannot decode");
    }
  }
}

void RowGroupRows::refuse_elements(const std::string& name, const std::string& kind) const {
  if (const auto row = column(name, &LeafReader::first_row_with_elements)) {
    fail(*row, ErrorCode::Unsupported, "has " + kind + ", which this version cannot decode");
  }
}

void RowGroupRows::refuse_numbers(const std::string& name, const std::string& kind) const {
  const auto numbers = integers(name);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (numbers[i] != 0) {
      fail(i, ErrorCode::Unsupported, "has " + kind + ", which this version cannot decode");
    }
  }
}

void RowGroupRows::refuse_unknown_features() const {
  const auto transforms = column("transforms", &LeafReader::string_lists);
  const auto bias_encodings = strings("bias_encoding");
  const auto modes = strings("act_mode");
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (const auto names = transforms.row(i); !names.empty()) {
      fail(i, ErrorCode::Unsupported,
           "has the transform '" + names[0] + "', which this version cannot undo");
    }
    if (!bias_encodings[i].empty()) {
      fail(i, ErrorCode::Unsupported,
           "has the bias_encoding '" + bias_encodings[i] + "', which this version does not know");
    }
    if (!modes[i].empty()) {
      fail(i, ErrorCode::Unsupported,
           "has the act_mode '" + modes[i] + "', which this version does not know");
    }
  }
  refuse_numbers("hadamard_block", "a hadamard_block");
  refuse_text("low_rank_u", "a low_rank_u");
  refuse_text("low_rank_v", "a low_rank_v");
  refuse_numbers("rank", "a low-rank part (rank)");
  refuse_elements("input_scale", "an input_scale");
  refuse_text("bias_corrections", "bias_corrections");
  refuse_numbers("act_bits", "quantized activations (act_bits)");
  refuse_elements("act", "quantized activations (act)");
}

// quant_type against the columns that follow from it.
void RowGroupRows::check_kind(size_t row) const {
  const BlockHeader& header = rows_[row].header;
  if (!header.quantized) {
    if (header.bit_width != bits_of(header.dtype) || header.group_size != 0) {
      contradicts(row, "bit_width, group_size",
                  std::to_string(header.bit_width) + ", " + std::to_string(header.group_size),
                  std::to_string(bits_of(header.dtype)) + ", 0 for kept " +
                      std::string(to_string(header.dtype)));
    }
    return;
  }
  const std::string& type = quant_types_[row];
  if (type != "int2" && type != "int4" && type != "int8") {
    fail(row, ErrorCode::Unsupported,
         "quant_type is '" + type + "', this version knows int2, int4, int8 and none");
  }
  if (type != header.quant_type()) {
    contradicts(row, "bit_width", std::to_string(header.bit_width), "that of " + type);
  }
  if (std::find(kGroupSizes.begin(), kGroupSizes.end(), header.group_size) == kGroupSizes.end()) {
    fail(row, ErrorCode::Unsupported,
         "group_size is " + std::to_string(header.group_size) +
             ", this version knows 32, 64, 128 and 256");
  }
  if (!is_quantizable(header.dtype)) {
    contradicts(row, "dtype", std::string(to_string(header.dtype)), "a type of weights");
  }
}

// The sizes, and what follows from them.
void RowGroupRows::check(size_t row) {
  PartRow& part_row = rows_[row];
  const BlockHeader& header = part_row.header;
  check_kind(row);
  int exponent = 0;
  if (!std::isfinite(header.tensor_scale) || std::frexp(header.tensor_scale, &exponent) != 0.5f) {
    contradicts(row, "tensor_scale", std::to_string(header.tensor_scale), "a power of two");
  }
  const std::optional<View> view = view_of(header.shape);
  if (!view) {
    contradicts(row, "shape", shape_text(header.shape), "sizes of 0 and more, in 64 bits");
  }
  if (header.row_start < 0 || header.row_count < 0 || header.row_start > view->rows ||
      header.row_count > view->rows - header.row_start) {
    contradicts(row, "row_start, row_count",
                std::to_string(header.row_start) + ", " + std::to_string(header.row_count),
                "rows of a tensor of shape " + shape_text(header.shape));
  }
  if (header.num_params != header.row_count * view->cols) {
    contradicts(row, "num_params", std::to_string(header.num_params),
                std::to_string(header.row_count * view->cols));
  }
  if (!header.quantized) {
    part_row.data_size_bytes =
        (static_cast<size_t>(header.num_params) * static_cast<size_t>(header.bit_width) + 7) / 8;
    return;
  }
  const BitWidth width = *bit_width_from_bits(header.bit_width);
  const auto num_rows = static_cast<size_t>(header.row_count);
  const auto cols = static_cast<size_t>(view->cols);
  part_row.data_size_bytes = num_rows * packed_row_bytes(cols, width);
  part_row.num_scales = num_rows * groups_per_row(cols, static_cast<size_t>(header.group_size));
  part_row.num_offsets = width == BitWidth::Int8 ? 0 : part_row.num_scales;
}

std::vector<PartRow> RowGroupRows::read() {
  read_places();
  read_types();
  refuse_unknown_encodings();
  refuse_unknown_features();
  read_notes();
  for (size_t row = 0; row < rows_.size(); ++row) {
    check(row);
  }
  return std::move(rows_);
}

bool same_tensor(const BlockHeader& a, const BlockHeader& b) {
  return a.shape == b.shape && a.dtype == b.dtype && a.quantized == b.quantized &&
         a.bit_width == b.bit_width && a.group_size == b.group_size;
}

// blocks: of one tensor, by block_index.
void check_tensor(const std::vector<const BlockHeader*>& blocks, const std::string& file) {
  const BlockHeader& first = *blocks[0];
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorCode::Metadata, file + ": tensor '" + first.layer_name + "' of shape " +
                                         shape_text(first.shape) + ": " + problem);
  };
  int64_t next_row = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const BlockHeader& block = *blocks[i];
    if (block.block_index != static_cast<int64_t>(i)) {
      fail("block " + std::to_string(i) + " is missing or stands twice");
    }
    if (block.row_start != next_row) {
      fail("block " + std::to_string(i) + " starts at row " + std::to_string(block.row_start) +
           ", expected " + std::to_string(next_row));
    }
    if (!same_tensor(block, first)) {
      fail("block " + std::to_string(i) + " describes another tensor than block 0");
    }
    next_row += block.row_count;
  }
  if (const int64_t rows = view_of(first.shape)->rows; next_row != rows) {
    fail("its blocks hold " + std::to_string(next_row) + " of " + std::to_string(rows) + " rows");
  }
}

}  // namespace

PartColumns::PartColumns(const parquet::SchemaDescriptor& schema, const std::string& file) {
  for (int i = 0; i < part_schema().num_columns(); ++i) {
    const std::string& name = part_schema().GetColumnRoot(i)->name();
    const int leaf = find_leaf(schema, name);
    if (leaf < 0) {
      throw Error(ErrorCode::Metadata,
                  file + " has no column '" + name + "': it is not a part of a quantized model");
    }
    if (schema.Column(leaf)->max_repetition_level() > 1) {
      throw Error(ErrorCode::Metadata, file + ": column '" + name + "' has lists of lists");
    }
    leaves_[name] = leaf;
  }
}

std::vector<PartRow> read_part_rows(parquet::RowGroupReader& row_group, const PartColumns& columns,
                                    const std::string& file) {
  return RowGroupRows(row_group, columns, file).read();
}

void check_tensors_complete(const std::vector<BlockHeader>& blocks, const std::string& file) {
  std::map<std::pair<std::string_view, std::string_view>, std::vector<const BlockHeader*>> tensors;
  for (const BlockHeader& block : blocks) {
    tensors[{block.component, block.layer_name}].push_back(&block);
  }
  for (auto& [name, tensor] : tensors) {
    std::sort(tensor.begin(), tensor.end(), [](const BlockHeader* a, const BlockHeader* b) {
      return a->block_index < b->block_index;
    });
    check_tensor(tensor, file);
  }
}

}  // namespace arrow_quant
