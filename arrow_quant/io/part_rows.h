// The small columns of a part file → checked block headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arrow_quant/io/part_columns.h"
#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

// The rows of one row group without their bulk columns, and what these must hold.
struct PartRows {
  struct Bulk {
    size_t data_size_bytes = 0;  // as it follows from the header
    size_t num_scales = 0;
    size_t num_offsets = 0;
    uint64_t checksum = 0;  // XXH3-64 of data
  };

  std::vector<BlockHeader> headers;
  std::vector<Bulk> bulk;
};

// Throws: Error(Metadata) where a row contradicts itself; Error(Unsupported) for what this version
// does not know, naming it; parquet::ParquetException.
PartRows read_part_rows(const RowGroupColumns& columns);

}  // namespace arrow_quant
