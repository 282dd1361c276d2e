// DiffusionOrchestrator: the C++ face of the library.
#pragma once

#include <filesystem>
#include <memory>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/core/progress.h"
#include "arrow_quant/pipeline/result.h"
#include "arrow_quant/pipeline/shared_resources.h"

namespace arrow_quant {

// What may accompany a call; all optional.
struct RunHooks {
  ProgressCallback progress;
  const CancelToken* cancel = nullptr;  // outlives the call
  // Of runs that go on at the same time; outlives the call. null: the run has its own.
  SharedResources* shared = nullptr;
  // A cancelled run leaves its finished parts, and the same call takes it up again; else it leaves
  // nothing behind.
  bool keep_unfinished = false;
};

class DiffusionOrchestrator {
 public:
  // Throws: what DiffusionQuantConfig::validate() throws.
  explicit DiffusionOrchestrator(DiffusionQuantConfig config = {});

  const DiffusionQuantConfig& config() const { return config_; }

  // Quantizes the model at `model_path` (a directory or a .safetensors file) into the directory
  // `output_path`. The output appears whole or not at all; a killed run is taken up again.
  // Throws: Error; see ErrorCode.
  QuantizationResult quantize_model(const std::filesystem::path& model_path,
                                    const std::filesystem::path& output_path,
                                    const RunHooks& hooks = {}) const;

  // Dequantizes `quantized_path` and measures every quantized tensor against `original_path`,
  // which may itself be a quantized model. `passed` follows the min_accuracy in the manifest.
  // Throws: Error(Validation) where the two cannot be compared.
  ValidationResult validate_quality(const std::filesystem::path& original_path,
                                    const std::filesystem::path& quantized_path,
                                    const RunHooks& hooks = {}) const;

 private:
  DiffusionQuantConfig config_;
};

}  // namespace arrow_quant
