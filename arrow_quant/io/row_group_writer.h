// One row group of a part file: the columns of some blocks, written one after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/io/interfaces.h>
#include <parquet/metadata.h>
#include <parquet/page_index.h>

#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

struct WrittenRowGroup {
  // Of scales and offsets as compressed, and of extras' arrays; what no block has counts nothing.
  int64_t param_bytes = 0;
  // Where the pages of `data` are; only for row groups of several rows.
  std::unique_ptr<parquet::OffsetIndexBuilder> data_pages;
};

// Writes `blocks` as a row group. Puts the length before each block's codes; they are handed to
// the sink where they lie. Throws: parquet::ParquetException, also where the sink fails.
WrittenRowGroup write_row_group(std::span<QuantizedBlock> blocks,
                                parquet::RowGroupMetaDataBuilder& metadata,
                                const std::shared_ptr<arrow::io::OutputStream>& sink);

// Bytes of the columns of scales, offsets and extras' arrays that write_row_group() would write for
// `block`.
int64_t compressed_param_bytes(QuantizedBlock& block);

}  // namespace arrow_quant
