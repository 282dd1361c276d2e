// The sketch of a layer's weights, read from its file.
#pragma once

#include <functional>
#include <span>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/diffusion/weight_sketch.h"
#include "arrow_quant/io/input_file.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

// Of at most 1024 of its rows, spread evenly: enough to tell which errors of the inputs matter.
// transform: done to each row [cols] before it is mixed; may be empty. Rows that are not finite are
// left out. cancel may be null. Pre: a row is a whole number of bytes. Throws: Error(Io),
// Error(Cancelled).
WeightSketch sketch_of(const PlannedTensor& tensor, const InputFile& file,
                       const std::function<void(std::span<float>)>& transform,
                       const CancelToken* cancel);

}  // namespace arrow_quant
