// Option values as people read and write them: for messages, and from unquoted text.
#pragma once

#include <string>
#include <vector>

#include "arrow_quant/config/options.h"

namespace arrow_quant {

// The shortest text that reads back as the same number: "0.85", "3".
std::string number_text(double value);

// null, true, 4, 0.85, "text", ["a", "b"]; what is long is cut.
std::string value_text(const ConfigValue& value);

std::string join(const std::vector<std::string>& parts, const std::string& separator);

}  // namespace arrow_quant
