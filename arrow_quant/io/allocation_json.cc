#include "arrow_quant/io/allocation_json.h"

#include "arrow_quant/io/json_field.h"

namespace arrow_quant {
namespace {

using Json = nlohmann::ordered_json;

Json choice_json(const WidthChoice& choice) {
  return {{"quant_type", choice.quant_type},
          {"bit_width", choice.bit_width},
          {"stored_bytes", choice.stored_bytes},
          {"nmse", choice.nmse},
          {"cosine_similarity", choice.cosine_similarity},
          {"allowed", choice.allowed}};
}

WidthChoice parse_choice(const Json& json) {
  return {field<std::string>(json, "quant_type"),   field<int>(json, "bit_width"),
          field<int64_t>(json, "stored_bytes"),     field<double>(json, "nmse"),
          field<double>(json, "cosine_similarity"), field<bool>(json, "allowed")};
}

Json layer_json(const LayerAllocation& layer) {
  Json choices = Json::array();
  for (const WidthChoice& choice : layer.choices) {
    choices.push_back(choice_json(choice));
  }
  const WidthChoice& chosen = layer.choices[layer.chosen];
  return {{"name", layer.name},
          {"component", layer.component},
          {"quant_type", chosen.quant_type},
          {"bit_width", chosen.bit_width},
          {"num_params", layer.num_params},
          {"chosen", layer.chosen},
          {"error_weight", layer.error_weight},
          {"group", layer.group},
          {"gain_per_byte", layer.gain_per_byte ? Json(*layer.gain_per_byte) : Json(nullptr)},
          {"rule", layer.rule},
          {"choices", std::move(choices)}};
}

LayerAllocation parse_layer(const Json& json) {
  LayerAllocation layer;
  layer.name = field<std::string>(json, "name");
  layer.component = field<std::string>(json, "component");
  layer.num_params = field<int64_t>(json, "num_params");
  layer.chosen = field<size_t>(json, "chosen");
  layer.error_weight = field<double>(json, "error_weight");
  layer.group = field<std::string>(json, "group");
  if (const Json& gain = json.at("gain_per_byte"); !gain.is_null()) {
    layer.gain_per_byte = gain.get<double>();
  }
  layer.rule = field<std::string>(json, "rule");
  for (const Json& choice : json.at("choices")) {
    layer.choices.push_back(parse_choice(choice));
  }
  json.at("choices").at(layer.chosen);  // an index that leads nowhere is damage
  return layer;
}

}  // namespace

Json allocation_json(const Allocation& allocation) {
  Json layers = Json::array();
  for (const LayerAllocation& layer : allocation.layers) {
    layers.push_back(layer_json(layer));
  }
  return {{"target", allocation.target},
          {"target_value", allocation.target_value},
          {"reached", allocation.reached},
          {"budget_bytes", allocation.budget_bytes},
          {"stored_bytes", allocation.stored_bytes},
          {"weighted_error", allocation.weighted_error},
          {"layers", std::move(layers)}};
}

Allocation parse_allocation(const Json& json) {
  Allocation allocation;
  allocation.target = field<std::string>(json, "target");
  allocation.target_value = field<double>(json, "target_value");
  allocation.reached = field<double>(json, "reached");
  allocation.budget_bytes = field<int64_t>(json, "budget_bytes");
  allocation.stored_bytes = field<int64_t>(json, "stored_bytes");
  allocation.weighted_error = field<double>(json, "weighted_error");
  for (const Json& layer : json.at("layers")) {
    allocation.layers.push_back(parse_layer(layer));
  }
  return allocation;
}

}  // namespace arrow_quant
