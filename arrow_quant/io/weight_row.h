// WeightRow: one row of a batch to quantize, as a view of weights that lie in the caller's memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/core/error.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

struct WeightRow {
  std::optional<std::string_view> name;  // unset: null
  std::vector<int64_t> shape;
  RowsView weights;            // the weights as [out, in·…]
  std::optional<Error> error;  // set: the row cannot be quantized; shape and weights are empty
};

// Where a row stands, for messages: "column 'weights', row 3 ("fc1.weight")".
std::string place(std::string_view column, int64_t row,
                  const std::optional<std::string_view>& name);

}  // namespace arrow_quant
