// The small columns of a part file → checked block headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <parquet/file_reader.h>

#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

// Where the format's columns stand in a file's schema.
class PartColumns {
 public:
  // file: for messages. Throws: Error(Metadata) naming the first column that is missing.
  PartColumns(const parquet::SchemaDescriptor& schema, const std::string& file);

  // Pre: `name` is a column of the format.
  int leaf(const std::string& name) const { return leaves_.at(name); }

 private:
  std::map<std::string, int> leaves_;
};

// One row without its bulk columns.
struct PartRow {
  BlockHeader header;
  size_t data_size_bytes = 0;  // as it follows from the header
  size_t num_scales = 0;
  size_t num_offsets = 0;
  uint64_t checksum = 0;  // XXH3-64 of data
};

// Reads all rows of a row group. Throws: Error(Metadata) where a row contradicts itself;
// Error(Unsupported) for a transform, packing or encoding that is not known, naming it;
// parquet::ParquetException.
std::vector<PartRow> read_part_rows(parquet::RowGroupReader& row_group, const PartColumns& columns,
                                    const std::string& file);

// Checks that the blocks of each tensor agree and make it up, in whatever order they stand.
// Throws: Error(Metadata).
void check_tensors_complete(const std::vector<BlockHeader>& blocks, const std::string& file);

}  // namespace arrow_quant
