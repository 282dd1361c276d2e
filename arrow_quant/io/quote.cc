#include "arrow_quant/io/quote.h"

#include <nlohmann/json.hpp>

namespace arrow_quant {

std::string quote(std::string_view text) {
  constexpr size_t kMaxBytes = 160;
  const bool shortened = text.size() > kMaxBytes;
  const nlohmann::json shown = std::string(text.substr(0, kMaxBytes)) + (shortened ? "…" : "");
  return shown.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string printable(std::string_view text) {
  const std::string shown = quote(text);
  return shown.substr(1, shown.size() - 2);
}

}  // namespace arrow_quant
