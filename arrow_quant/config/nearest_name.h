// The known name that somebody may have meant by an unknown one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace arrow_quant {

// By edit distance, '-' and '_' and cases being equal; "" if none is near. Ties: the first.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace arrow_quant
