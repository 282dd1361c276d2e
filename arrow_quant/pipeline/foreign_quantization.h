// Sources whose config.json says that another tool quantized them.
#pragma once

#include <string>
#include <vector>

#include "arrow_quant/io/model_dir.h"

namespace arrow_quant {

// One for each component whose "quantization_config" the output replaces by its own.
// Throws: Error(Unsupported) where its tensors are codes of that tool, which would be taken for
// weights or lose what decodes them.
std::vector<std::string> warnings_of_foreign_quantization(const ModelDir& model);

}  // namespace arrow_quant
