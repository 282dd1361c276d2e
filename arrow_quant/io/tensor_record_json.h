// TensorRecord ↔ JSON: a tensor in the manifest and in the journal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "arrow_quant/io/manifest.h"

namespace arrow_quant {

// {score, largest_jump, violations: [{boundary, jump, noise_floor, cause}]}.
nlohmann::ordered_json markov_json(const MarkovDiagnosis& diagnosis);
nlohmann::ordered_json tensor_json(const TensorRecord& tensor);
// Throws: nlohmann::json::exception for what is missing or of another type.
TensorRecord tensor_record(const nlohmann::ordered_json& json, const std::string& component);

}  // namespace arrow_quant
