// TimeGroups ↔ JSON: the "time_groups" of the manifest, of parts and of results.
#pragma once

#include <nlohmann/json.hpp>

#include "arrow_quant/io/time_groups.h"

namespace arrow_quant {

nlohmann::ordered_json time_groups_json(const TimeGroups& groups);
// Throws: nlohmann::json::exception for what is missing or of another type; Error(Metadata) for
// what is against the rules, with `source` in the message.
TimeGroups parse_time_groups(const nlohmann::ordered_json& json, const std::string& source);

}  // namespace arrow_quant
