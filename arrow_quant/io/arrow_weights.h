// ArrowWeights: the rows of a table with the columns layer_name, weights and (optional) shape. The
// weights stay where they are; float64 and float16 are rounded or widened where they are used.
#pragma once

#include <span>
#include <vector>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/io/arrow_batch.h"
#include "arrow_quant/io/weight_row.h"

namespace arrow_quant {

class ArrowWeights {
 public:
  // Reads no weight. A row that is null, has no name or one that came before, or whose shape does
  // not fit, has its error set. Throws: Error(Schema) naming column, type found and what is
  // allowed.
  explicit ArrowWeights(ArrowTable table);

  // Row by row, over all batches. Lifetime: of this object.
  std::span<const WeightRow> rows() const { return rows_; }
  DType dtype() const { return dtype_; }  // F32, F64 or F16

 private:
  ArrowTable table_;
  std::vector<std::shared_ptr<void>> columns_;  // what the rows look into
  DType dtype_ = DType::F32;
  std::vector<WeightRow> rows_;
};

}  // namespace arrow_quant
