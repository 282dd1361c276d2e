#include "arrow_quant/pipeline/inspect.h"

#include <filesystem>

#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/totals.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/pipeline/quantized_model.h"

namespace arrow_quant {
namespace {

void set_totals(ModelInspection& inspection, int64_t part_bytes) {
  const Totals totals = add_up(inspection.layers, part_bytes);
  inspection.num_params = totals.num_params;
  inspection.source_bytes = totals.source_bytes;
  inspection.stored_bytes = totals.stored_bytes;
  inspection.bits_per_weight = totals.bits_per_weight;
  inspection.bits_per_weight_model = totals.bits_per_weight_model;
}

ModelInspection inspect_quantized(const std::filesystem::path& path) {
  const QuantizedModel model = QuantizedModel::open(path);
  ModelInspection inspection;
  inspection.kind = "quantized";
  inspection.path = path;
  inspection.modality = model.manifest().modality;
  inspection.modality_evidence = model.manifest().modality_evidence;
  for (const ComponentRecord& component : model.manifest().components) {
    inspection.components.push_back({component.name, component.time_groups});
  }
  inspection.layers = model.tensors();
  inspection.warnings = model.manifest().warnings;
  set_totals(inspection, part_bytes_of(model.manifest().components));
  return inspection;
}

LayerReport planned_layer(const PlannedTensor& tensor, const std::string& component,
                          const DiffusionQuantConfig& config) {
  LayerReport layer;
  layer.name = tensor.info->name;
  layer.component = component;
  layer.shape = tensor.info->shape;
  layer.dtype = to_string(tensor.info->dtype);
  const std::optional<BitWidth> width = tensor.decision.bit_width;
  layer.quant_type = width ? "int" + std::to_string(bits_of(*width)) : "none";
  layer.bit_width = width ? bits_of(*width) : bits_of(tensor.info->dtype);
  layer.group_size = width ? static_cast<int>(config.group_size) : 0;
  layer.num_params = tensor.view.rows * tensor.view.cols;
  layer.source_bytes = static_cast<int64_t>(tensor.info->size_bytes);
  layer.stored_bytes = planned_bytes(tensor, width, config.group_size);
  layer.reason = tensor.decision.reason;
  return layer;
}

// What quantizing would store; no metric is known before a weight is read.
ModelInspection inspect_source(const std::filesystem::path& path,
                               const DiffusionQuantConfig& config) {
  const ModelDir model = open_model_dir(path, model_dir_options(config));
  const Plan plan = make_plan(model, config);
  ModelInspection inspection;
  inspection.kind = "source";
  inspection.path = path;
  inspection.modality =
      plan.modality.modality ? std::string(to_string(*plan.modality.modality)) : "unknown";
  inspection.modality_evidence = plan.modality.evidence;
  inspection.warnings = plan.warnings;
  if (has_target(config)) {
    inspection.warnings.emplace_back(
        "the bits under a target follow from measuring the weights: shown are the fewest that each "
        "layer can get");
  }
  int64_t planned = 0;
  for (const PlannedComponent& component : plan.components) {
    inspection.components.push_back({component.source->name, std::nullopt});
    for (const PlannedTensor& tensor : component.tensors) {
      inspection.layers.push_back(planned_layer(tensor, component.source->name, config));
      planned += inspection.layers.back().stored_bytes;
    }
  }
  set_totals(inspection, planned);
  return inspection;
}

}  // namespace

ModelInspection inspect_model(const std::filesystem::path& path,
                              const DiffusionQuantConfig& config) {
  config.validate();
  std::error_code ignored;
  return !path.empty() && std::filesystem::is_regular_file(path / kManifestName, ignored)
             ? inspect_quantized(path)
             : inspect_source(path, config);
}

}  // namespace arrow_quant
