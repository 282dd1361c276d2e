#include "arrow_quant/pipeline/result_json.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "arrow_quant/io/allocation_json.h"
#include "arrow_quant/io/time_groups_json.h"

namespace arrow_quant {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}
Json number(const std::optional<double>& value) {
  return value ? number(*value) : Json(nullptr);
}

// Null where there are none.
Json to_object(const LayerExtras& extras) {
  if (extras == LayerExtras()) {
    return nullptr;
  }
  return {
      {"transforms", extras.transforms},
      {"hadamard_block", extras.hadamard_block},
      {"rank", extras.rank},
      {"bias_groups", extras.bias_groups},
      {"act_bits", extras.act_bits},
      {"act_mode", extras.act_mode},
      {"act_groups", extras.act_groups},
  };
}

Json to_object(const LayerReport& layer) {
  Json trials = Json::array();
  for (const TrialReport& trial : layer.trials) {
    trials.push_back({{"name", trial.name}, {"error", trial.error}, {"accepted", trial.accepted}});
  }
  Json steps = Json::array();
  for (const StepReport& step : layer.activation_steps) {
    steps.push_back({{"name", step.name},
                     {"error_before", number(step.error_before)},
                     {"error_after", number(step.error_after)},
                     {"accepted", step.accepted}});
  }
  return {
      {"name", layer.name},
      {"component", layer.component},
      {"shape", layer.shape},
      {"dtype", layer.dtype},
      {"quant_type", layer.quant_type},
      {"bit_width", layer.bit_width},
      {"group_size", layer.group_size},
      {"num_params", layer.num_params},
      {"source_bytes", layer.source_bytes},
      {"stored_bytes", layer.stored_bytes},
      {"cosine_similarity", number(layer.cosine_similarity)},
      {"sqnr_db", number(layer.sqnr_db)},
      {"max_abs_error", number(layer.max_abs_error)},
      {"reason", layer.reason},
      {"method", layer.method},
      {"output_sqnr_db", number(layer.output_sqnr_db)},
      {"trials", std::move(trials)},
      {"activation_steps", std::move(steps)},
      {"extras", to_object(layer.extras)},
  };
}

Json to_object(const ComponentInspection& component) {
  return {
      {"name", component.name},
      {"time_groups",
       component.time_groups ? time_groups_json(*component.time_groups) : Json(nullptr)},
  };
}

Json to_object(const Promotion& promotion) {
  return {
      {"name", promotion.name},
      {"from_bits", promotion.from_bits},
      {"to_bits", promotion.to_bits},
      {"accuracy_before", number(promotion.accuracy_before)},
      {"accuracy_after", number(promotion.accuracy_after)},
      {"extra_bytes", promotion.extra_bytes},
  };
}

Json to_object(const LayerValidation& layer) {
  return {
      {"name", layer.name},
      {"component", layer.component},
      {"quant_type", layer.quant_type},
      {"cosine_similarity", number(layer.cosine_similarity)},
      {"sqnr_db", number(layer.sqnr_db)},
      {"max_abs_error", number(layer.max_abs_error)},
  };
}

Json to_object(const TensorMismatch& mismatch) {
  return {{"name", mismatch.name}, {"problem", mismatch.problem}};
}

Json to_object(const MarkovReport& report) {
  Json layers = Json::array(), violations = Json::array();
  for (const auto& [name, diagnosis] : report.layers) {
    layers.push_back({{"name", name},
                      {"score", number(diagnosis.score)},
                      {"largest_jump", number(diagnosis.largest_jump)}});
    for (const Violation& violation : diagnosis.violations) {
      violations.push_back({{"layer", name},
                            {"boundary", violation.boundary},
                            {"jump", number(violation.jump)},
                            {"noise_floor", number(violation.noise_floor)},
                            {"cause", to_string(violation.cause)}});
    }
  }
  return {
      {"score", number(report.score)},
      {"largest_jump", number(report.largest_jump)},
      {"smoothness_threshold", number(report.smoothness_threshold)},
      {"num_violations", violations.size()},
      {"violations", std::move(violations)},
      {"layers", std::move(layers)},
  };
}

template <class Item>
Json to_array(const std::vector<Item>& items) {
  Json array = Json::array();
  for (const Item& item : items) {
    array.push_back(to_object(item));
  }
  return array;
}

Json accuracy_by_name(const std::vector<LayerValidation>& layers) {
  std::map<std::string, int> times;
  for (const LayerValidation& layer : layers) {
    ++times[layer.name];
  }
  Json object = Json::object();
  for (const LayerValidation& layer : layers) {
    const std::string name =
        times[layer.name] > 1 ? layer.component + "/" + layer.name : layer.name;
    object[name] = number(layer.cosine_similarity);
  }
  return object;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string to_json(const QuantizationResult& result) {
  return dump({
      {"quantized_path", result.quantized_path.string()},
      {"compression_ratio", number(result.compression_ratio)},
      {"cosine_similarity", number(result.cosine_similarity)},
      {"model_size_mb", number(result.model_size_mb)},
      {"modality", result.modality},
      {"bit_width", result.bit_width},
      {"quantization_time_s", number(result.quantization_time_s)},
      {"modality_evidence", result.modality_evidence},
      {"worst_cosine_similarity", number(result.worst_cosine_similarity)},
      {"worst_layer", result.worst_layer},
      {"sqnr_db", number(result.sqnr_db)},
      {"bits_per_weight", number(result.bits_per_weight)},
      {"bits_per_weight_model", number(result.bits_per_weight_model)},
      {"num_quantized", result.num_quantized},
      {"num_kept", result.num_kept},
      {"flush_time_s", number(result.flush_time_s)},
      {"peak_memory_mb", number(result.peak_memory_mb)},
      {"resumed", result.resumed},
      {"up_to_date", result.up_to_date},
      {"time_aware_applied", result.mechanisms.time_aware.applied},
      {"time_aware_reason", result.mechanisms.time_aware.reason},
      {"spatial_applied", result.mechanisms.spatial.applied},
      {"spatial_reason", result.mechanisms.spatial.reason},
      {"thermodynamic_applied", result.mechanisms.thermodynamic.applied},
      {"thermodynamic_reason", result.mechanisms.thermodynamic.reason},
      {"low_rank_applied", result.mechanisms.low_rank.applied},
      {"low_rank_reason", result.mechanisms.low_rank.reason},
      {"calibration", result.mechanisms.calibration},
      {"markov_validation", result.markov ? to_object(*result.markov) : Json(nullptr)},
      {"promotions", to_array(result.promotions)},
      {"allocation", result.allocation ? allocation_json(*result.allocation) : Json(nullptr)},
      {"warnings", result.warnings},
      {"layers", to_array(result.layers)},
  });
}

std::string to_json(const ValidationResult& result) {
  return dump({
      {"cosine_similarity", number(result.cosine_similarity)},
      {"compression_ratio", number(result.compression_ratio)},
      {"model_size_mb", number(result.model_size_mb)},
      {"per_layer_accuracy", accuracy_by_name(result.layers)},
      {"passed", result.passed},
      {"worst_cosine_similarity", number(result.worst_cosine_similarity)},
      {"worst_layer", result.worst_layer},
      {"sqnr_db", number(result.sqnr_db)},
      {"min_accuracy", number(result.min_accuracy)},
      {"mismatches", to_array(result.mismatches)},
      {"layers", to_array(result.layers)},
  });
}

std::string to_json(const ModelInspection& inspection) {
  return dump({
      {"path", inspection.path.string()},
      {"kind", inspection.kind},
      {"modality", inspection.modality},
      {"modality_evidence", inspection.modality_evidence},
      {"num_params", inspection.num_params},
      {"source_bytes", inspection.source_bytes},
      {"stored_bytes", inspection.stored_bytes},
      {"bits_per_weight", number(inspection.bits_per_weight)},
      {"bits_per_weight_model", number(inspection.bits_per_weight_model)},
      {"warnings", inspection.warnings},
      {"components", to_array(inspection.components)},
      {"layers", to_array(inspection.layers)},
  });
}

std::string error_json(std::string_view code, std::string_view message) {
  return dump({{"error", {{"code", code}, {"message", message}}}});
}

}  // namespace arrow_quant
