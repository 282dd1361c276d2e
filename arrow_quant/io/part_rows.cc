#include "arrow_quant/io/part_rows.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_checks.h"
#include "arrow_quant/io/extras_columns.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/unknown_features.h"
#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {
namespace {

[[noreturn]] void fail(ErrorCode code, const std::string& file, const BlockHeader& header,
                       const std::string& problem) {
  throw Error(code, file + ": tensor '" + header.layer_name + "', block " +
                        std::to_string(header.block_index) + ": " + problem);
}

// Checks one row against itself.
class RowCheck {
 public:
  RowCheck(const std::string& file, const BlockHeader& header) : file_(file), header_(header) {}

  // What the bulk columns must hold, but for the checksum.
  PartRows::Bulk run() const;

 private:
  void check_types() const;
  void check_quantized() const;
  void check_rows(const MatrixView& view) const;
  [[noreturn]] void contradicts(const std::string& column, const std::string& value,
                                const std::string& allowed) const {
    fail(ErrorCode::Metadata, file_, header_, column + " is " + value + ", expected " + allowed);
  }

  const std::string& file_;
  const BlockHeader& header_;
};

void RowCheck::check_types() const {
  int exponent = 0;
  if (!std::isfinite(header_.tensor_scale) || std::frexp(header_.tensor_scale, &exponent) != 0.5f) {
    contradicts("tensor_scale", std::to_string(header_.tensor_scale), "a power of two");
  }
  if (header_.quantized) {
    check_quantized();
  } else if (header_.bit_width != bits_of(header_.dtype) || header_.group_size != 0 ||
             header_.tensor_scale != 1.0f) {
    contradicts("bit_width, group_size, tensor_scale",
                std::to_string(header_.bit_width) + ", " + std::to_string(header_.group_size) +
                    ", " + std::to_string(header_.tensor_scale),
                std::to_string(bits_of(header_.dtype)) + ", 0, 1 for kept " +
                    std::string(to_string(header_.dtype)));
  }
}

void RowCheck::check_quantized() const {
  if (std::find(kGroupSizes.begin(), kGroupSizes.end(), header_.group_size) == kGroupSizes.end()) {
    fail(ErrorCode::Unsupported, file_, header_,
         "group_size is " + std::to_string(header_.group_size) +
             ", this version knows 32, 64, 128 and 256");
  }
  if (!is_quantizable(header_.dtype)) {
    contradicts("dtype", std::string(to_string(header_.dtype)), "a type of weights");
  }
}

void RowCheck::check_rows(const MatrixView& view) const {
  if (header_.row_start < 0 || header_.row_count < 0 || header_.row_start > view.rows ||
      header_.row_count > view.rows - header_.row_start) {
    contradicts("row_start, row_count",
                std::to_string(header_.row_start) + ", " + std::to_string(header_.row_count),
                "rows of a tensor of shape " + shape_text(header_.shape));
  }
  if (header_.num_params != header_.row_count * view.cols) {
    contradicts("num_params", std::to_string(header_.num_params),
                std::to_string(header_.row_count * view.cols));
  }
}

PartRows::Bulk RowCheck::run() const {
  check_types();
  const std::optional<MatrixView> view = matrix_view(header_.shape);
  if (!view) {
    contradicts("shape", shape_text(header_.shape), "sizes of 0 and more, in 64 bits");
  }
  check_rows(*view);
  const std::string problem = extras_problem(header_.extras, header_.quantized, header_.block_index,
                                             header_.row_count, view->cols);
  if (!problem.empty()) {
    fail(ErrorCode::Metadata, file_, header_, problem);
  }
  PartRows::Bulk bulk;
  const auto bits = static_cast<size_t>(header_.bit_width);
  if (!header_.quantized) {
    bulk.data_size_bytes = (static_cast<size_t>(header_.num_params) * bits + 7) / 8;
    return bulk;
  }
  const auto width = static_cast<BitWidth>(header_.bit_width);
  const auto rows = static_cast<size_t>(header_.row_count);
  const auto cols = static_cast<size_t>(view->cols);
  bulk.data_size_bytes = rows * packed_row_bytes(cols, width);
  bulk.num_scales = rows * groups_per_row(cols, static_cast<size_t>(header_.group_size));
  bulk.num_offsets = width == BitWidth::Int8 ? 0 : bulk.num_scales;
  return bulk;
}

// Throws where a number does not fit what holds it.
template <class T>
T fitting(int64_t value, const std::string& column, const std::string& file) {
  if (!std::in_range<T>(value)) {
    throw Error(ErrorCode::Metadata,
                file + ": column '" + column + "' has the value " + std::to_string(value));
  }
  return static_cast<T>(value);
}

// Which tensor, and which of its rows.
void read_places(const RowGroupColumns& columns, std::vector<BlockHeader>& headers) {
  auto names = columns["layer_name"].strings();
  const auto shapes = columns["shape"].integer_lists();
  const auto indices = columns["block_index"].integers();
  const auto starts = columns["row_start"].integers();
  const auto counts = columns["row_count"].integers();
  const auto params = columns["num_params"].integers();
  headers.resize(names.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    BlockHeader& header = headers[i];
    header.layer_name = std::move(names[i]);
    const auto shape = shapes.row(i);
    header.shape.assign(shape.begin(), shape.end());
    header.block_index = fitting<int32_t>(indices[i], "block_index", columns.file());
    header.row_start = starts[i];
    header.row_count = counts[i];
    header.num_params = params[i];
  }
}

// How its values are stored.
void read_types(const RowGroupColumns& columns, std::vector<BlockHeader>& headers) {
  const auto dtypes = columns["dtype"].strings();
  const auto quant_types = columns["quant_type"].strings();
  const auto bits = columns["bit_width"].integers();
  const auto group_sizes = columns["group_size"].integers();
  const auto tensor_scales = columns["tensor_scale"].floats();
  for (size_t i = 0; i < headers.size(); ++i) {
    BlockHeader& header = headers[i];
    const std::optional<DType> dtype = parse_dtype(dtypes[i]);
    if (!dtype) {
      fail(ErrorCode::Unsupported, columns.file(), header,
           "dtype is '" + dtypes[i] + "', which this version does not know");
    }
    header.dtype = *dtype;
    header.bit_width = fitting<int8_t>(bits[i], "bit_width", columns.file());
    header.group_size = fitting<int32_t>(group_sizes[i], "group_size", columns.file());
    header.tensor_scale = tensor_scales[i];
    const std::string& type = quant_types[i];
    header.quantized = type != "none";
    if (header.quantized && type != "int2" && type != "int4" && type != "int8") {
      fail(ErrorCode::Unsupported, columns.file(), header,
           "quant_type is '" + type + "', this version knows int2, int4, int8 and none");
    }
    if (type != header.quant_type()) {
      fail(ErrorCode::Metadata, columns.file(), header,
           "bit_width is " + std::to_string(header.bit_width) + ", expected that of " + type);
    }
  }
}

// What is for people.
void read_notes(const RowGroupColumns& columns, std::vector<BlockHeader>& headers) {
  auto methods = columns["method"].strings();
  auto reasons = columns["kept_reason"].strings();
  auto modalities = columns["modality"].strings();
  auto components = columns["component"].strings();
  const auto diffusion = columns["is_diffusion_model"].booleans();
  const auto cosines = columns["cosine_similarity"].optional_floats();
  const auto sqnrs = columns["sqnr_db"].optional_floats();
  const auto errors = columns["max_abs_error"].optional_floats();
  const auto output_sqnrs = columns["output_sqnr_db"].optional_floats();
  for (size_t i = 0; i < headers.size(); ++i) {
    BlockHeader& header = headers[i];
    header.method = std::move(methods[i]);
    header.kept_reason = std::move(reasons[i]);
    header.modality = std::move(modalities[i]);
    header.component = std::move(components[i]);
    header.is_diffusion_model = diffusion[i] != 0;
    header.cosine_similarity = cosines[i];
    header.sqnr_db = sqnrs[i];
    header.max_abs_error = errors[i];
    header.output_sqnr_db = output_sqnrs[i];
  }
}

}  // namespace

PartRows read_part_rows(const RowGroupColumns& columns) {
  PartRows rows;
  read_places(columns, rows.headers);
  read_types(columns, rows.headers);
  refuse_unknown_features(columns, rows.headers);
  read_extras(columns, rows.headers);
  read_notes(columns, rows.headers);
  const auto checksums = columns["checksum"].integers();
  for (size_t i = 0; i < rows.headers.size(); ++i) {
    rows.bulk.push_back(RowCheck(columns.file(), rows.headers[i]).run());
    rows.bulk.back().checksum = static_cast<uint64_t>(checksums[i]);
  }
  return rows;
}

}  // namespace arrow_quant
