#include "arrow_quant/io/component_config.h"

#include <nlohmann/json.hpp>

#include "arrow_quant/core/error.h"

namespace arrow_quant {

using Json = nlohmann::ordered_json;

std::vector<std::string> config_scalars(const std::string& config_json) {
  const Json json = Json::parse(config_json, nullptr, false);
  std::vector<std::string> scalars;
  if (!json.is_object()) {
    return scalars;
  }
  for (const auto& [key, value] : json.items()) {
    if (value.is_string()) {
      scalars.push_back(key + "=" + value.get<std::string>());
    } else if (value.is_primitive()) {
      scalars.push_back(key + "=" + value.dump());
    } else if (value.is_array() && !value.empty() && value[0].is_string()) {
      scalars.push_back(key + "=" + value[0].get<std::string>());  // "architectures"
    }
  }
  return scalars;
}

std::string quantization_method(const std::string& config_json) {
  const Json json = Json::parse(config_json, nullptr, false);
  if (!json.is_object() || !json.contains("quantization_config")) {
    return "";
  }
  const Json& config = json.at("quantization_config");
  if (config.is_null()) {
    return "";
  }
  const auto method = config.is_object() ? config.find("quant_method") : config.end();
  return config.is_object() && method != config.end() && method->is_string()
             ? method->get<std::string>()
             : "an unknown tool";
}

std::string add_quantization_config(const std::string& config_json,
                                    const QuantizationConfigEntry& entry,
                                    const std::string& source) {
  Json json = config_json.empty() ? Json::object() : Json::parse(config_json, nullptr, false);
  if (!json.is_object()) {
    throw Error(ErrorCode::InvalidModel,
                source + ": not a JSON object; repair the file or remove it");
  }
  json["quantization_config"] = {{"quant_method", "arrow_quant"},
                                 {"bits", entry.bits},
                                 {"group_size", entry.group_size},
                                 {"method", entry.method},
                                 {"modules_to_not_convert", entry.modules_to_not_convert}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace arrow_quant
