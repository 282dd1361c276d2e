// The JSON header of a safetensors file as a list of tensors: everything about it that can be
// checked without knowing how much data follows.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/io/safetensors.h"

namespace arrow_quant {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // as they stand in the header; begin counts from the data's
  std::map<std::string, std::string> metadata;
};

// Checks grammar, UTF-8, duplicate keys, the fields of each entry, and that begin ≤ end. Unknown
// fields of an entry are ignored, as in the reference implementation.
// Pre: json starts with '{'.
// Throws: Error(InvalidModel); `path` is for its message.
SafetensorsHeader parse_safetensors_header(std::string_view json,
                                           const std::filesystem::path& path);

}  // namespace arrow_quant
