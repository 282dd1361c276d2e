// Element types of tensors, in the spelling of the safetensors format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace arrow_quant {

enum class DType : uint8_t {
  Bool,
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  U64,
  I64,
  C64,
  F4,
  F6_E2M3,
  F6_E3M2,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  F16,
  BF16,
  F32,
  F64,
};

// Bits of one element: 4, 6, 8, 16, 32 or 64.
int bits_of(DType dtype);

// "F32", "BF16", "F8_E4M3" …
std::string_view to_string(DType dtype);

// The inverse of to_string; nothing for a name that the safetensors format does not have.
std::optional<DType> parse_dtype(std::string_view name);

// Whether weights of this type are quantized: F64 F32 F16 BF16 F8_E4M3 F8_E5M2.
bool is_quantizable(DType dtype);

}  // namespace arrow_quant
