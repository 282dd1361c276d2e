#include "arrow_quant/core/dtype.h"

#include <array>

namespace arrow_quant {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int bits;
};

constexpr std::array kTable = {
    Row{DType::Bool, "BOOL", 8},
    Row{DType::U8, "U8", 8},
    Row{DType::I8, "I8", 8},
    Row{DType::U16, "U16", 16},
    Row{DType::I16, "I16", 16},
    Row{DType::U32, "U32", 32},
    Row{DType::I32, "I32", 32},
    Row{DType::U64, "U64", 64},
    Row{DType::I64, "I64", 64},
    Row{DType::C64, "C64", 64},
    Row{DType::F4, "F4", 4},
    Row{DType::F6_E2M3, "F6_E2M3", 6},
    Row{DType::F6_E3M2, "F6_E3M2", 6},
    Row{DType::F8_E5M2, "F8_E5M2", 8},
    Row{DType::F8_E4M3, "F8_E4M3", 8},
    Row{DType::F8_E8M0, "F8_E8M0", 8},
    Row{DType::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8},
    Row{DType::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8},
    Row{DType::F16, "F16", 16},
    Row{DType::BF16, "BF16", 16},
    Row{DType::F32, "F32", 32},
    Row{DType::F64, "F64", 64},
};

const Row& row_of(DType dtype) {
  return kTable[static_cast<size_t>(dtype)];
}

}  // namespace

int bits_of(DType dtype) {
  return row_of(dtype).bits;
}

std::string_view to_string(DType dtype) {
  return row_of(dtype).name;
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const Row& row : kTable) {
    if (row.name == name) {
      return row.dtype;
    }
  }
  return std::nullopt;
}

bool is_quantizable(DType dtype) {
  switch (dtype) {
    case DType::F64:
    case DType::F32:
    case DType::F16:
    case DType::BF16:
    case DType::F8_E4M3:
    case DType::F8_E5M2:
      return true;
    default:
      return false;
  }
}

}  // namespace arrow_quant
