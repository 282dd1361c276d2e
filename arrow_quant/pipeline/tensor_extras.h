// What the blocks of a tensor have beside codes, from how the tensor is treated.
#pragma once

#include <cstddef>
#include <vector>

#include "arrow_quant/io/block_extras.h"
#include "arrow_quant/quant/input_transform.h"
#include "arrow_quant/quant/low_rank.h"

namespace arrow_quant {

// Of block number `block`, without the rows of U. transform, low_rank: null: none. act_bits: 0: the
// inputs stay as they are.
BlockExtras tensor_extras(const InputTransform* transform, const LowRank* low_rank, int act_bits,
                          ActMode mode, const std::vector<ActivationRange>& act, size_t block);

}  // namespace arrow_quant
