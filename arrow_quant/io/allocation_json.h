// Allocation ↔ JSON: the "allocation" of the manifest, of the journal and of results.
#pragma once

#include <nlohmann/json.hpp>

#include "arrow_quant/io/allocation.h"

namespace arrow_quant {

nlohmann::ordered_json allocation_json(const Allocation& allocation);
// Throws: nlohmann::json::exception for what is missing or of another type.
Allocation parse_allocation(const nlohmann::ordered_json& json);

}  // namespace arrow_quant
