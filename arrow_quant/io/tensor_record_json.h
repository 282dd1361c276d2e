// TensorRecord ↔ JSON: a tensor in the manifest and in the journal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "arrow_quant/io/manifest.h"

namespace arrow_quant {

nlohmann::ordered_json tensor_json(const TensorRecord& tensor);
// Throws: nlohmann::json::exception for what is missing or of another type.
TensorRecord tensor_record(const nlohmann::ordered_json& json, const std::string& component);

}  // namespace arrow_quant
