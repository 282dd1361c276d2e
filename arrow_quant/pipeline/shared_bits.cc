#include "arrow_quant/pipeline/shared_bits.h"

#include <set>
#include <utility>

#include "arrow_quant/io/totals.h"

namespace arrow_quant {

SharedBits share_bits(Plan& plan, size_t metadata_bytes,
                      const std::optional<RecordedAllocation>& recorded,
                      const MeasureContext& context) {
  const std::vector<LayerProbe> probes = layers_to_measure(plan);
  if (recorded) {
    MeasureContext reading = context;
    reading.only_digest = true;
    if (measure_layers(probes, reading).digest == recorded->source_digest &&
        apply_allocation(plan, recorded->allocation, *context.config)) {
      return {*recorded, true};
    }
  }
  const Measurement measured = measure_layers(probes, context);
  return {{allocate_bits(plan, measured.layers, *context.config, metadata_bytes), measured.digest},
          false};
}

uint64_t sharing_bytes(const Plan& plan, bool recorded) {
  return measured_bytes(layers_to_measure(plan), recorded);
}

double reached(const Allocation& allocation, const std::vector<ComponentRecord>& components) {
  if (allocation.target == "target_size_mb") {
    return static_cast<double>(part_bytes_of(components)) / 1e6;
  }
  std::set<std::pair<std::string, std::string>> counted;
  for (const LayerAllocation& layer : allocation.layers) {
    counted.emplace(layer.component, layer.name);
  }
  double bits = 0, num_params = 0;
  for (const LayerReport& layer : layers_of(components)) {
    if (counted.contains({layer.component, layer.name})) {
      bits += 8 * static_cast<double>(layer.stored_bytes);
      num_params += static_cast<double>(layer.num_params);
    }
  }
  return num_params > 0 ? bits / num_params : 0;
}

}  // namespace arrow_quant
