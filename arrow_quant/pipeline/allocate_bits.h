// allocate_bits: shares bits out among the layers of a plan so that a target of size holds and the
// weighted sum of their measured errors is least (quant/allocate). Decides on measurements alone:
// the same ones give the same bits.
#pragma once

#include <cstddef>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/io/allocation.h"
#include "arrow_quant/pipeline/measure_layers.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

// The layers whose bits count towards the target, in plan order: all that the rules would quantize
// and those of layer_bit_widths. Lifetime: borrows plan and model.
std::vector<LayerProbe> layers_to_measure(const Plan& plan);

// Sets the plan's decisions and parts. measured: of layers_to_measure(plan). metadata_bytes: of
// each part's key-value metadata.
// Throws: Error(Configuration) for a target that cannot be reached, naming the smallest and the
// largest size that can.
Allocation allocate_bits(Plan& plan, const std::vector<LayerMeasure>& measured,
                         const DiffusionQuantConfig& config, size_t metadata_bytes);

// Sets the plan's decisions and parts as allocate_bits() does. False, and nothing is done, if the
// allocation is of other layers.
bool apply_allocation(Plan& plan, const Allocation& allocation, const DiffusionQuantConfig& config);

}  // namespace arrow_quant
