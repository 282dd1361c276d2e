// quantize_model: a model on disk → a quantized model on disk.
#pragma once

#include <filesystem>

#include "arrow_quant/config/config.h"
#include "arrow_quant/pipeline/orchestrator.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant {

// See DiffusionOrchestrator::quantize_model. config: validated.
QuantizationResult quantize_model(const std::filesystem::path& model_path,
                                  const std::filesystem::path& output_path,
                                  const DiffusionQuantConfig& config, const RunHooks& hooks);

}  // namespace arrow_quant
