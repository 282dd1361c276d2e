// What can be chosen for the layers of a plan under a target: each layer's choices with what rules
// say about them, and which layers choose together.
#pragma once

#include <cstddef>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/io/allocation.h"
#include "arrow_quant/pipeline/measure_layers.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/quant/allocate.h"

namespace arrow_quant {

// The quant_type of a choice that leaves the layer as it is.
inline constexpr const char* kKeptChoice = "none";

// A layer's choices: the measured widths, then keeping it. Nothing is chosen yet.
LayerAllocation describe_choices(const PlannedComponent& component, const PlannedTensor& tensor,
                                 const LayerMeasure& measured, const DiffusionQuantConfig& config);

// Layers with the same bits, and what can be chosen for them: of each layer one of its choices.
struct TiedLayers {
  std::vector<size_t> layers;
  std::vector<std::vector<size_t>> options;
};

// In the order of their first layers. Clears the group of layers without a companion.
std::vector<TiedLayers> tie_layers(std::vector<LayerAllocation>& layers);

// The options of each, as allocate() takes them.
std::vector<AllocationItem> items_of(const std::vector<LayerAllocation>& layers,
                                     const std::vector<TiedLayers>& all);

}  // namespace arrow_quant
