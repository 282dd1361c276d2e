// Where text goes: results to standard output, all else to standard error.
#pragma once

#include <string>
#include <string_view>

namespace arrow_quant::cli {

// Opens /dev/null for each standard stream that is closed, so that no file of the work gets its
// number and with it the text that is meant for the stream.
void open_standard_streams();

// Writes to standard output. A reader that went away (… | head) is no failure.
// Throws: Error(Io) for other failures, such as a full disk.
void print(std::string_view text);

// Writes "arrow-quant: TEXT" as a line to standard error.
void complain(std::string_view text);

}  // namespace arrow_quant::cli
