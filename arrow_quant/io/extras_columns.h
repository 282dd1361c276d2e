// The small columns of a part file that say what extras its blocks have.
#pragma once

#include <vector>

#include "arrow_quant/io/part_columns.h"
#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

// Sets the extras of a row group's headers, but for their arrays (low_rank_u, low_rank_v,
// input_scale, bias_corrections), which are read with a block.
// Pre: names and row counts are there. Throws: Error(Unsupported) naming tensor and feature for
// what this version does not know; Error(Metadata); what RowGroupColumns throws.
void read_extras(const RowGroupColumns& columns, std::vector<BlockHeader>& headers);

}  // namespace arrow_quant
