// How large part files can be beside the stored bytes of their blocks: bounds from above, for
// budgets that must hold before anything is written. FORMAT.md says what takes this room.
#pragma once

#include <cstdint>

namespace arrow_quant {

// A file: schema, footer, and `metadata_bytes` of key-value metadata.
constexpr int64_t max_part_overhead_bytes(int64_t metadata_bytes) {
  return 1400 + metadata_bytes;
}

// A row group: page headers with checksums, and column metadata of 43 leaf columns, offsets of up to
// 2^40.
inline constexpr int64_t kMaxRowGroupOverheadBytes = 3070;

// A row: the values of all small columns. text_bytes: of its layer name, modality, component and
// reason for being kept.
constexpr int64_t max_row_overhead_bytes(int64_t num_dimensions, int64_t text_bytes) {
  return 190 + 8 * num_dimensions + text_bytes;
}

}  // namespace arrow_quant
