// Widths of a stored code, and the sizes that follow from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace arrow_quant {

enum class BitWidth : uint8_t { Int2 = 2, Int4 = 4, Int8 = 8 };

inline int bits_of(BitWidth width) {
  return static_cast<int>(width);
}
inline std::optional<BitWidth> bit_width_from_bits(int bits) {
  return bits == 2 || bits == 4 || bits == 8 ? std::optional(static_cast<BitWidth>(bits))
                                             : std::nullopt;
}

// Bytes of one row of packed codes: each row starts on a byte.
inline size_t packed_row_bytes(size_t cols, BitWidth width) {
  return (cols * static_cast<size_t>(width) + 7) / 8;
}
// Groups of one row; the last may be shorter.
inline size_t groups_per_row(size_t cols, size_t group_size) {
  return (cols + group_size - 1) / group_size;
}
// Bytes of one row's parameters: an fp16 scale for each group, and an offset unless codes are
// signed.
inline size_t param_row_bytes(size_t cols, BitWidth width, size_t group_size) {
  return groups_per_row(cols, group_size) * (width == BitWidth::Int8 ? 2 : 4);
}

}  // namespace arrow_quant
