// ArrowCodes: the rows of a table with the columns of a CodedBatch, for dequantizing. The columns
// may have gone through other tools: any kind of list, string, binary or integer will do.
// layer_name, cosine_similarity, sqnr_db and error may be missing; zero_points may be empty lists.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "arrow_quant/io/arrow_batch.h"
#include "arrow_quant/quant/zero_point.h"

namespace arrow_quant {

struct CodesRow {
  std::optional<std::string_view> name;
  std::vector<int64_t> shape;
  std::optional<ZeroPointView> codes;  // unset: the row is null
};

class ArrowCodes {
 public:
  // Throws: Error(Schema) naming column, type found and what is allowed; Error(InvalidRow),
  // Error(ShapeMismatch) naming column, row and what does not fit.
  explicit ArrowCodes(ArrowTable table);

  // Row by row, over all batches. Lifetime: of this object.
  std::span<const CodesRow> rows() const { return rows_; }

 private:
  ArrowTable table_;
  std::vector<std::shared_ptr<void>> columns_;  // what the rows look into
  std::vector<CodesRow> rows_;
};

}  // namespace arrow_quant
