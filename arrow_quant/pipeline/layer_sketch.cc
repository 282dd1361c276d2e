#include "arrow_quant/pipeline/layer_sketch.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/pipeline/chunk.h"
#include "arrow_quant/quant/quantize.h"
#include "arrow_quant/quant/row_chunks.h"

namespace arrow_quant {
namespace {

constexpr size_t kMostRows = 1024;

}  // namespace

WeightSketch sketch_of(const PlannedTensor& tensor, const InputFile& file,
                       const std::function<void(std::span<float>)>& transform,
                       const CancelToken* cancel) {
  const auto cols = static_cast<size_t>(tensor.view.cols);
  const auto rows = static_cast<size_t>(tensor.view.rows);
  const uint64_t row_bytes = source_row_bytes(tensor);
  const size_t taken = std::min(rows, kMostRows);
  WeightSketch sketch(cols);
  Buffer bytes(row_bytes);
  std::vector<float> weights(cols);
  for (size_t i = 0; i < taken; ++i) {
    check_cancelled(cancel);
    const size_t row = i * rows / taken;
    file.read_at(tensor.info->begin + row * row_bytes, bytes.bytes().first(row_bytes));
    widen_to_f32(bytes.data(), tensor.info->dtype, cols, weights.data());
    const bool finite = std::all_of(weights.begin(), weights.end(),
                                    [](float weight) { return std::isfinite(weight); });
    if (!finite) continue;
    if (transform) transform(weights);
    sketch.add_row(row, weights);
  }
  return sketch;
}

}  // namespace arrow_quant
