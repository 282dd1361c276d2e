// What is said of a weight that is NaN, infinite, or beyond float32's range.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "arrow_quant/io/safetensors.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

// source: the file of the tensor, for the message. Throws: Error(NonFinite).
[[noreturn]] void throw_non_finite(const std::filesystem::path& source, const TensorInfo& tensor,
                                   const RangeStats::NonFinite& bad);

// "nan at [3, 0, 17]", for a tensor of this shape.
std::string non_finite_text(const std::vector<int64_t>& shape, const RangeStats::NonFinite& bad);

// Why its tensor is kept, where the caller wants that.
std::string kept_for_non_finite(const TensorInfo& tensor, const RangeStats::NonFinite& bad);

// Why a tensor is kept whose finite weights are beyond kLargestQuantized; empty if they are not.
std::string kept_for_range(const RangeStats& range);

}  // namespace arrow_quant
