// What the tests of io/ share, beside what all tests share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrow_quant/core/core_test_util.h"

namespace arrow_quant {

// The bytes of a safetensors file: length, header, and as many data bytes, counting up from 0.
inline std::string safetensors_bytes(const std::string& header, size_t data_bytes) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i)));
  }
  bytes += header;
  for (size_t i = 0; i < data_bytes; ++i) {
    bytes.push_back(static_cast<char>(i));
  }
  return bytes;
}

// A whole file that holds a tensor of two float32 under each name.
inline std::string safetensors_with(const std::vector<std::string>& names) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    header += (i == 0 ? "\"" : ",\"") + names[i] +
              R"(":{"dtype":"F32","shape":[2],"data_offsets":[)" + std::to_string(8 * i) + "," +
              std::to_string(8 * i + 8) + "]}";
  }
  return safetensors_bytes(header + "}", 8 * names.size());
}

}  // namespace arrow_quant
