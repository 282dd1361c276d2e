#include "arrow_quant/io/allocation_json.h"

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
  return {json.at("quant_type").get<std::string>(),   json.at("bit_width").get<int>(),
          json.at("stored_bytes").get<int64_t>(),     json.at("nmse").get<double>(),
          json.at("cosine_similarity").get<double>(), json.at("allowed").get<bool>()};
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
  layer.name = json.at("name").get<std::string>();
  layer.component = json.at("component").get<std::string>();
  layer.num_params = json.at("num_params").get<int64_t>();
  layer.chosen = json.at("chosen").get<size_t>();
  layer.error_weight = json.at("error_weight").get<double>();
  layer.group = json.at("group").get<std::string>();
  if (const Json& gain = json.at("gain_per_byte"); !gain.is_null()) {
    layer.gain_per_byte = gain.get<double>();
  }
  layer.rule = json.at("rule").get<std::string>();
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
  allocation.target = json.at("target").get<std::string>();
  allocation.target_value = json.at("target_value").get<double>();
  allocation.reached = json.at("reached").get<double>();
  allocation.budget_bytes = json.at("budget_bytes").get<int64_t>();
  allocation.stored_bytes = json.at("stored_bytes").get<int64_t>();
  allocation.weighted_error = json.at("weighted_error").get<double>();
  for (const Json& layer : json.at("layers")) {
    allocation.layers.push_back(parse_layer(layer));
  }
  return allocation;
}

}  // namespace arrow_quant
