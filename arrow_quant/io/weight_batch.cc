#include "arrow_quant/io/weight_batch.h"

#include <limits>
#include <numeric>
#include <utility>

#include "arrow_quant/core/reuse.h"
#include "arrow_quant/io/arrow_build.h"

namespace arrow_quant {
namespace {

size_t num_weights(const CodesRow& row) {
  return row.codes ? row.codes->rows * row.codes->cols : 0;
}

}  // namespace

WeightBatch::WeightBatch(std::span<const CodesRow> rows) {
  size_t total = 0;
  for (const CodesRow& row : rows) {
    total += num_weights(row);
  }
  weights_ = take_buffer(total * sizeof(float));
  size_t start = 0;
  for (const CodesRow& row : rows) {
    rows_.push_back(weights_.as<float>().subspan(start, num_weights(row)));
    start += num_weights(row);
  }
}

ArrowBatch WeightBatch::to_arrow(std::span<const CodesRow> layers) && {
  std::vector<bool> there;
  std::vector<size_t> sizes;
  for (size_t i = 0; i < layers.size(); ++i) {
    there.push_back(layers[i].codes.has_value());
    sizes.push_back(rows_[i].size());
  }
  const Validity valid(std::move(there));
  const size_t total = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  const bool large = total > std::numeric_limits<int32_t>::max();
  const auto type = large ? arrow::large_list(arrow::float32()) : arrow::list(arrow::float32());
  auto names = name_column(layers.size(), [&](size_t row) { return layers[row].name; });
  auto weights = packed_column(type, valid, sizes, to_arrow_buffer(std::move(weights_)));
  auto shapes = shape_column(
      valid, [&](size_t row) -> const auto& { return layers[row].shape; });
  auto schema = arrow::schema({arrow::field("layer_name", names->type()),
                               arrow::field("weights", weights->type()),
                               arrow::field("shape", shapes->type())});
  return to_arrow_batch(arrow::RecordBatch::Make(
      std::move(schema), static_cast<int64_t>(layers.size()), {names, weights, shapes}));
}

}  // namespace arrow_quant
