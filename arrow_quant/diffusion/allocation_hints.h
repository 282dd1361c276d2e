// What a weight's name says about sharing bits out among layers: which layers go together, and
// whose errors count more. Names only, like layer_names.
#pragma once

#include <string>
#include <string_view>

namespace arrow_quant {

// How much a layer's error counts beside the same relative error of another: 2 for the keys and
// values of cross-attention and the last projection of a feed-forward network, through which the
// content of what is made passes; else 1.
double error_weight(std::string_view tensor_name);

// Layers that read the same input, and that a runtime may fuse into one matrix, have the same
// group: queries, keys and values of one attention (of cross-attention keys and values alone), gate
// and up projections of one feed-forward network. Empty for all others.
std::string fused_group(std::string_view tensor_name);

}  // namespace arrow_quant
