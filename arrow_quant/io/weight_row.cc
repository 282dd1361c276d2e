#include "arrow_quant/io/weight_row.h"

#include "arrow_quant/io/quote.h"

namespace arrow_quant {

std::string place(std::string_view column, int64_t row,
                  const std::optional<std::string_view>& name) {
  return "column '" + std::string(column) + "', row " + std::to_string(row) +
         (name ? " (" + quote(*name) + ")" : "");
}

}  // namespace arrow_quant
