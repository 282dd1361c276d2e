// Where text goes: results to standard output, all else to standard error.
#pragma once

#include <string>
#include <string_view>

namespace arrow_quant::cli {

// Writes to standard output. A reader that went away (… | head) is no failure.
// Throws: Error(Io) for other failures, such as a full disk.
void print(std::string_view text);

// Writes "arrow-quant: TEXT" as a line to standard error.
void complain(std::string_view text);

}  // namespace arrow_quant::cli
