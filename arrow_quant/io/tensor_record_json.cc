#include "arrow_quant/io/tensor_record_json.h"

#include <cmath>
#include <optional>
#include <utility>

#include "arrow_quant/io/json_field.h"

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
    steps.push_back({field<std::string>(step, "name"), field<double>(step, "error_before"),
                     field<double>(step, "error_after"), field<bool>(step, "accepted")});
  }
  return steps;
}

MarkovDiagnosis markov_record(const Json& json) {
  MarkovDiagnosis diagnosis{field<double>(json, "score"), field<double>(json, "largest_jump"), {}};
  for (const Json& entry : json.at("violations")) {
    Violation violation{field<size_t>(entry, "boundary"), field<double>(entry, "jump"),
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
  return {field<std::vector<std::string>>(json, "transforms"),
          field<int>(json, "hadamard_block"),
          field<int>(json, "rank"),
          field<int>(json, "bias_groups"),
          field<int>(json, "act_bits"),
          field<std::string>(json, "act_mode"),
          field<int>(json, "act_groups")};
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
  r.name = field<std::string>(json, "name");
  r.component = component;
  r.shape = field<std::vector<int64_t>>(json, "shape");
  r.dtype = field<std::string>(json, "dtype");
  r.quant_type = field<std::string>(json, "quant_type");
  r.bit_width = field<int>(json, "bit_width");
  r.group_size = field<int>(json, "group_size");
  r.num_params = field<int64_t>(json, "num_params");
  r.source_bytes = field<int64_t>(json, "source_bytes");
  r.stored_bytes = field<int64_t>(json, "stored_bytes");
  r.cosine_similarity = metric_value(json.at("cosine_similarity"));
  r.sqnr_db = metric_value(json.at("sqnr_db"));
  r.max_abs_error = metric_value(json.at("max_abs_error"));
  r.reason = field<std::string>(json, "reason");
  r.method = json.value("method", "");
  r.output_sqnr_db = metric_value(json.value("output_sqnr_db", Json()));
  for (const Json& trial : json.value("trials", Json::array())) {
    r.trials.push_back({field<std::string>(trial, "name"), field<double>(trial, "error"),
                        field<bool>(trial, "accepted")});
  }
  r.activation_steps = step_reports(json.value("activation_steps", Json::array()));
  if (json.contains("markov")) {
    r.markov = markov_record(json.at("markov"));
  }
  if (json.contains("extras")) {
    r.extras = extras_record(json.at("extras"));
  }
  tensor.part = field<int32_t>(json, "part");
  for (const Json& block : json.at("blocks")) {
    tensor.blocks.push_back({field<int32_t>(block, "row_group"), field<int64_t>(block, "row")});
  }
  return tensor;
}

}  // namespace arrow_quant
