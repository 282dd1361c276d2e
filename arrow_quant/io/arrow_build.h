// Columns of the batches that the library makes. Internal to io/.
#pragma once

#include <arrow/api.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/io/arrow_columns.h"

namespace arrow_quant {

// The same memory, owned by Arrow from now on.
std::shared_ptr<arrow::Buffer> to_arrow_buffer(Buffer buffer);

// Which rows of a batch hold something; null where all do.
class Validity {
 public:
  explicit Validity(std::vector<bool> valid);

  bool operator[](size_t row) const { return valid_[row]; }
  size_t num_rows() const { return valid_.size(); }
  int64_t null_count() const { return null_count_; }
  const std::shared_ptr<arrow::Buffer>& bitmap() const { return bitmap_; }

 private:
  std::vector<bool> valid_;
  int64_t null_count_ = 0;
  std::shared_ptr<arrow::Buffer> bitmap_;
};

// A column of type list<float32>, large_list<float32> or large_binary over `data`, whose row i is
// `sizes[i]` long. Pre: all together have no more than INT32_MAX floats where it is list.
std::shared_ptr<arrow::Array> packed_column(const std::shared_ptr<arrow::DataType>& type,
                                            const Validity& validity, std::span<const size_t> sizes,
                                            std::shared_ptr<arrow::Buffer> data);

// A column made by a builder, where value(row) is what it appends to rows that are valid.
template <class Builder, class Value>
std::shared_ptr<arrow::Array> built_column(const Validity& validity, Value value) {
  Builder builder;
  for (size_t row = 0; row < validity.num_rows(); ++row) {
    check_built(validity[row] ? builder.Append(value(row)) : builder.AppendNull());
  }
  std::shared_ptr<arrow::Array> column;
  check_built(builder.Finish(&column));
  return column;
}

using NameOf = std::function<std::optional<std::string_view>(size_t row)>;
std::shared_ptr<arrow::Array> name_column(size_t num_rows, const NameOf& name);

using ShapeOf = std::function<const std::vector<int64_t>&(size_t row)>;
std::shared_ptr<arrow::Array> shape_column(const Validity& validity, const ShapeOf& shape);

}  // namespace arrow_quant
