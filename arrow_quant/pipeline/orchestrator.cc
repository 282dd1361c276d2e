#include "arrow_quant/pipeline/orchestrator.h"

#include <utility>

#include "arrow_quant/pipeline/quantize_model.h"
#include "arrow_quant/pipeline/validate_model.h"

namespace arrow_quant {

DiffusionOrchestrator::DiffusionOrchestrator(DiffusionQuantConfig config)
    : config_(std::move(config)) {
  config_.validate();
}

QuantizationResult DiffusionOrchestrator::quantize_model(const std::filesystem::path& model_path,
                                                         const std::filesystem::path& output_path,
                                                         const RunHooks& hooks) const {
  return arrow_quant::quantize_model(model_path, output_path, config_, hooks);
}

ValidationResult DiffusionOrchestrator::validate_quality(
    const std::filesystem::path& original_path, const std::filesystem::path& quantized_path,
    const RunHooks& hooks) const {
  return validate_model(original_path, quantized_path, config_, hooks);
}

}  // namespace arrow_quant
