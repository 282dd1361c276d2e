#include "arrow_quant/io/arrow_build.h"

#include <arrow/util/bit_util.h>

#include <utility>

#include "arrow_quant/core/reuse.h"

namespace arrow_quant {
namespace {

class KeptBuffer : public arrow::Buffer {
 public:
  explicit KeptBuffer(arrow_quant::Buffer buffer)
      : arrow::Buffer(buffer.data(), static_cast<int64_t>(buffer.size_bytes())),
        kept_(std::move(buffer)) {}
  ~KeptBuffer() override { give_back(std::move(kept_)); }

 private:
  arrow_quant::Buffer kept_;
};

template <class Offset>
std::shared_ptr<arrow::Buffer> offsets_of(std::span<const size_t> sizes) {
  Buffer buffer((sizes.size() + 1) * sizeof(Offset));
  const std::span<Offset> offsets = buffer.as<Offset>();
  size_t end = 0;
  offsets[0] = 0;
  for (size_t row = 0; row < sizes.size(); ++row) {
    end += sizes[row];
    offsets[row + 1] = static_cast<Offset>(end);
  }
  return to_arrow_buffer(std::move(buffer));
}

}  // namespace

std::shared_ptr<arrow::Buffer> to_arrow_buffer(Buffer buffer) {
  return std::make_shared<KeptBuffer>(std::move(buffer));
}

Validity::Validity(std::vector<bool> valid) : valid_(std::move(valid)) {
  for (const bool row : valid_) {
    null_count_ += row ? 0 : 1;
  }
  if (null_count_ == 0) {
    return;
  }
  Buffer bits((valid_.size() + 7) / 8);
  std::fill(bits.bytes().begin(), bits.bytes().end(), uint8_t{0});
  for (size_t row = 0; row < valid_.size(); ++row) {
    if (valid_[row]) {
      arrow::bit_util::SetBit(bits.data(), static_cast<int64_t>(row));
    }
  }
  bitmap_ = to_arrow_buffer(std::move(bits));
}

std::shared_ptr<arrow::Array> packed_column(const std::shared_ptr<arrow::DataType>& type,
                                            const Validity& validity, std::span<const size_t> sizes,
                                            std::shared_ptr<arrow::Buffer> data) {
  const auto num_rows = static_cast<int64_t>(sizes.size());
  const bool narrow = type->id() == arrow::Type::LIST;
  auto offsets = narrow ? offsets_of<int32_t>(sizes) : offsets_of<int64_t>(sizes);
  if (type->id() == arrow::Type::LARGE_BINARY) {
    return arrow::MakeArray(arrow::ArrayData::Make(
        type, num_rows, {validity.bitmap(), std::move(offsets), std::move(data)},
        validity.null_count()));
  }
  size_t total = 0;
  for (const size_t size : sizes) {
    total += size;
  }
  auto values = arrow::ArrayData::Make(arrow::float32(), static_cast<int64_t>(total),
                                       {nullptr, std::move(data)}, 0);
  return arrow::MakeArray(arrow::ArrayData::Make(type, num_rows,
                                                 {validity.bitmap(), std::move(offsets)},
                                                 {std::move(values)}, validity.null_count()));
}

std::shared_ptr<arrow::Array> name_column(size_t num_rows, const NameOf& name) {
  arrow::StringBuilder builder;
  for (size_t row = 0; row < num_rows; ++row) {
    const auto text = name(row);
    check_built(text ? builder.Append(*text) : builder.AppendNull());
  }
  std::shared_ptr<arrow::Array> column;
  check_built(builder.Finish(&column));
  return column;
}

std::shared_ptr<arrow::Array> shape_column(const Validity& validity, const ShapeOf& shape) {
  auto sizes = std::make_shared<arrow::Int64Builder>();
  arrow::ListBuilder builder(arrow::default_memory_pool(), sizes);
  for (size_t row = 0; row < validity.num_rows(); ++row) {
    check_built(validity[row] ? builder.Append() : builder.AppendNull());
    if (validity[row]) {
      check_built(sizes->AppendValues(shape(row)));
    }
  }
  std::shared_ptr<arrow::Array> column;
  check_built(builder.Finish(&column));
  return column;
}

}  // namespace arrow_quant
