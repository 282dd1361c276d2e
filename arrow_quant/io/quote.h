// Text from a file as an error message may show it. Such text can be long, binary, or made to
// deceive a terminal.
#pragma once

#include <string>
#include <string_view>

namespace arrow_quant {

// `text` with control characters escaped and bytes that are not UTF-8 replaced, shortened to 160
// bytes.
std::string printable(std::string_view text);

// printable(text) in double quotes.
std::string quote(std::string_view text);

}  // namespace arrow_quant
