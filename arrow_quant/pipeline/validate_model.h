// validate_model: what a quantized model lost, measured against its original by loading both.
#pragma once

#include <filesystem>

#include "arrow_quant/config/config.h"
#include "arrow_quant/pipeline/orchestrator.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant {

// See DiffusionOrchestrator::validate_quality.
ValidationResult validate_model(const std::filesystem::path& original_path,
                                const std::filesystem::path& quantized_path,
                                const DiffusionQuantConfig& config, const RunHooks& hooks);

}  // namespace arrow_quant
