// WeightBatch: dequantized weights, laid out as the columns of an Arrow record batch: layer_name
// string, weights list<float32> (large_list where a batch has more than 2^31 − 1 of them), shape
// list<int64>. Rows that were null stay null.
#pragma once

#include <span>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/io/arrow_batch.h"
#include "arrow_quant/io/arrow_codes.h"

namespace arrow_quant {

class WeightBatch {
 public:
  // Room for the weights of `rows`, uninitialized.
  explicit WeightBatch(std::span<const CodesRow> rows);

  // Where the weights of each row go.
  std::span<const std::span<float>> rows() const { return rows_; }

  // The batch keeps the buffer; names and shapes of `layers`, the rows this was made for, are
  // copied.
  ArrowBatch to_arrow(std::span<const CodesRow> layers) &&;

 private:
  Buffer weights_;
  std::vector<std::span<float>> rows_;
};

}  // namespace arrow_quant
