// Results as text for people. The same facts as a JSON object: pipeline/result_json.h.
#pragma once

#include <string>

#include "arrow_quant/pipeline/inspect.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant::cli {

std::string report(const QuantizationResult& result);
std::string report(const ValidationResult& result);
std::string report(const ModelInspection& inspection);

}  // namespace arrow_quant::cli
