// Refusing what this version cannot decode: in a row of a part, whatever names another layout of
// codes and parameters. Extras are looked at where they are read.
#pragma once

#include <vector>

#include "arrow_quant/io/part_columns.h"
#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

// headers: of the row group's rows, as far as names and `quantized` go.
// Throws: Error(Unsupported) naming tensor and feature; what RowGroupColumns throws.
void refuse_unknown_features(const RowGroupColumns& columns,
                             const std::vector<BlockHeader>& headers);

}  // namespace arrow_quant
