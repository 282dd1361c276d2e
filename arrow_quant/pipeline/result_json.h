// Results as JSON: one object each, for --json and for Python's dictionaries. This is the one place
// that spells their keys. Numbers that JSON cannot say (the infinite SQNR of a layer without error)
// are null, as is what does not apply; bytes that are not UTF-8 become U+FFFD.
#pragma once

#include <string>

#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/inspect.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant {

std::string to_json(const QuantizationResult& result);
// "per_layer_accuracy" maps names to cosines; a name that stands in several components has its
// component in front, "transformer/proj.weight".
std::string to_json(const ValidationResult& result);
std::string to_json(const ModelInspection& inspection);

// {"error": {"code": …, "message": …}}, code as to_string(ErrorCode) has it or "Internal".
std::string error_json(std::string_view code, std::string_view message);

}  // namespace arrow_quant
