#include "arrow_quant/io/tensor_record_json.h"

#include <cmath>
#include <optional>
#include <utility>

namespace arrow_quant {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinity: an exact layer's SQNR is the string "inf".
Json metric_json(const std::optional<double>& value) {
  if (!value) return nullptr;
  if (std::isinf(*value)) return *value > 0 ? "inf" : "-inf";
  return *value;
}

std::optional<double> metric_value(const Json& json) {
  if (json.is_null()) return std::nullopt;
  if (json.is_string()) {
    return json.get<std::string>() == "inf" ? HUGE_VAL : -HUGE_VAL;
  }
  return json.get<double>();
}

Json trials_json(const std::vector<TrialReport>& trials) {
  Json json = Json::array();
  for (const TrialReport& trial : trials) {
    json.push_back({{"name", trial.name}, {"error", trial.error}, {"accepted", trial.accepted}});
  }
  return json;
}

Json steps_json(const std::vector<StepReport>& steps) {
  Json json = Json::array();
  for (const StepReport& step : steps) {
    json.push_back({{"name", step.name},
                    {"error_before", step.error_before},
                    {"error_after", step.error_after},
                    {"accepted", step.accepted}});
  }
  return json;
}

std::vector<StepReport> step_reports(const Json& json) {
  std::vector<StepReport> steps;
  for (const Json& step : json) {
    steps.push_back({step.at("name").get<std::string>(), step.at("error_before").get<double>(),
                     step.at("error_after").get<double>(), step.at("accepted").get<bool>()});
  }
  return steps;
}

MarkovDiagnosis markov_record(const Json& json) {
  MarkovDiagnosis diagnosis{
      json.at("score").get<double>(), json.at("largest_jump").get<double>(), {}};
  for (const Json& entry : json.at("violations")) {
    Violation violation{entry.at("boundary").get<size_t>(), entry.at("jump").get<double>(),
                        metric_value(entry.at("noise_floor"))};
    violation.cause = cause_of(violation.jump, violation.noise_floor);
    diagnosis.violations.push_back(violation);
  }
  return diagnosis;
}

Json extras_json(const LayerExtras& extras) {
  return {{"transforms", extras.transforms},
          {"hadamard_block", extras.hadamard_block},
          {"rank", extras.rank},
          {"bias_groups", extras.bias_groups},
          {"act_bits", extras.act_bits},
          {"act_mode", extras.act_mode},
          {"act_groups", extras.act_groups}};
}

LayerExtras extras_record(const Json& json) {
  return {json.at("transforms").get<std::vector<std::string>>(),
          json.at("hadamard_block").get<int>(),
          json.at("rank").get<int>(),
          json.at("bias_groups").get<int>(),
          json.at("act_bits").get<int>(),
          json.at("act_mode").get<std::string>(),
          json.at("act_groups").get<int>()};
}

}  // namespace

Json markov_json(const MarkovDiagnosis& diagnosis) {
  Json violations = Json::array();
  for (const Violation& violation : diagnosis.violations) {
    violations.push_back({{"boundary", violation.boundary},
                          {"jump", violation.jump},
                          {"noise_floor", metric_json(violation.noise_floor)},
                          {"cause", to_string(violation.cause)}});
  }
  return {{"score", diagnosis.score},
          {"largest_jump", diagnosis.largest_jump},
          {"violations", std::move(violations)}};
}

Json tensor_json(const TensorRecord& tensor) {
  const LayerReport& r = tensor.report;
  Json blocks = Json::array();
  for (const BlockPlace& place : tensor.blocks) {
    blocks.push_back({{"row_group", place.row_group}, {"row", place.row}});
  }
  Json json = {{"name", r.name},
               {"shape", r.shape},
               {"dtype", r.dtype},
               {"quant_type", r.quant_type},
               {"bit_width", r.bit_width},
               {"group_size", r.group_size},
               {"num_params", r.num_params},
               {"source_bytes", r.source_bytes},
               {"stored_bytes", r.stored_bytes},
               {"cosine_similarity", metric_json(r.cosine_similarity)},
               {"sqnr_db", metric_json(r.sqnr_db)},
               {"max_abs_error", metric_json(r.max_abs_error)},
               {"reason", r.reason},
               {"method", r.method},
               {"output_sqnr_db", metric_json(r.output_sqnr_db)},
               {"trials", trials_json(r.trials)},
               {"part", tensor.part},
               {"blocks", std::move(blocks)}};
  if (!r.activation_steps.empty()) {
    json["activation_steps"] = steps_json(r.activation_steps);
  }
  if (r.markov) {
    json["markov"] = markov_json(*r.markov);
  }
  if (r.extras != LayerExtras()) {
    json["extras"] = extras_json(r.extras);
  }
  return json;
}

TensorRecord tensor_record(const Json& json, const std::string& component) {
  TensorRecord tensor;
  LayerReport& r = tensor.report;
  r.name = json.at("name").get<std::string>();
  r.component = component;
  r.shape = json.at("shape").get<std::vector<int64_t>>();
  r.dtype = json.at("dtype").get<std::string>();
  r.quant_type = json.at("quant_type").get<std::string>();
  r.bit_width = json.at("bit_width").get<int>();
  r.group_size = json.at("group_size").get<int>();
  r.num_params = json.at("num_params").get<int64_t>();
  r.source_bytes = json.at("source_bytes").get<int64_t>();
  r.stored_bytes = json.at("stored_bytes").get<int64_t>();
  r.cosine_similarity = metric_value(json.at("cosine_similarity"));
  r.sqnr_db = metric_value(json.at("sqnr_db"));
  r.max_abs_error = metric_value(json.at("max_abs_error"));
  r.reason = json.at("reason").get<std::string>();
  r.method = json.value("method", "");
  r.output_sqnr_db = metric_value(json.value("output_sqnr_db", Json()));
  for (const Json& trial : json.value("trials", Json::array())) {
    r.trials.push_back({trial.at("name").get<std::string>(), trial.at("error").get<double>(),
                        trial.at("accepted").get<bool>()});
  }
  r.activation_steps = step_reports(json.value("activation_steps", Json::array()));
  if (json.contains("markov")) {
    r.markov = markov_record(json.at("markov"));
  }
  if (json.contains("extras")) {
    r.extras = extras_record(json.at("extras"));
  }
  tensor.part = json.at("part").get<int32_t>();
  for (const Json& block : json.at("blocks")) {
    tensor.blocks.push_back({block.at("row_group").get<int32_t>(), block.at("row").get<int64_t>()});
  }
  return tensor;
}

}  // namespace arrow_quant
