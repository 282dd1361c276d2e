#include "arrow_quant/pipeline/result_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace arrow_quant {
namespace {

using nlohmann::json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

LayerReport kept_layer() {
  LayerReport layer;
  layer.name = "norm.weight";
  layer.component = "transformer";
  layer.shape = {64};
  layer.dtype = "BF16";
  layer.quant_type = "none";
  layer.bit_width = 16;
  layer.num_params = 64;
  layer.source_bytes = 128;
  layer.stored_bytes = 128;
  layer.reason = "norm";
  return layer;
}

LayerReport quantized_layer() {
  LayerReport layer;
  layer.name = "proj.weight";
  layer.component = "transformer";
  layer.shape = {128, 256};
  layer.dtype = "F32";
  layer.quant_type = "int4";
  layer.bit_width = 4;
  layer.group_size = 128;
  layer.num_params = 32768;
  layer.source_bytes = 131072;
  layer.stored_bytes = 17408;
  layer.cosine_similarity = 0.5;
  layer.sqnr_db = 20.25;
  layer.max_abs_error = 0.125;
  layer.method = "gptq";
  layer.output_sqnr_db = 30.5;
  layer.trials = {{"mse", 0.5, false}, {"gptq", 0.25, true}};
  layer.activation_steps = {{"clip", 0.25, 0.125, true}};
  layer.extras = {{"hadamard", "low_rank"}, 128, 4, 5, 8, "dynamic", 1};
  return layer;
}

const char* const kLayersJson = R"([
  {"name": "norm.weight", "component": "transformer", "shape": [64], "dtype": "BF16",
   "quant_type": "none", "bit_width": 16, "group_size": 0, "num_params": 64, "source_bytes": 128,
   "stored_bytes": 128, "cosine_similarity": null, "sqnr_db": null, "max_abs_error": null,
   "reason": "norm", "method": "", "output_sqnr_db": null, "trials": [],
   "activation_steps": [], "extras": null},
  {"name": "proj.weight", "component": "transformer", "shape": [128, 256], "dtype": "F32",
   "quant_type": "int4", "bit_width": 4, "group_size": 128, "num_params": 32768,
   "source_bytes": 131072, "stored_bytes": 17408, "cosine_similarity": 0.5, "sqnr_db": 20.25,
   "max_abs_error": 0.125, "reason": "", "method": "gptq", "output_sqnr_db": 30.5,
   "trials": [{"name": "mse", "error": 0.5, "accepted": false},
              {"name": "gptq", "error": 0.25, "accepted": true}],
   "activation_steps": [{"name": "clip", "error_before": 0.25, "error_after": 0.125,
                         "accepted": true}],
   "extras": {"transforms": ["hadamard", "low_rank"], "hadamard_block": 128, "rank": 4,
              "bias_groups": 5, "act_bits": 8, "act_mode": "dynamic", "act_groups": 1}}])";

TEST(ResultJsonTest, AQuantizationResultHasTheKeysOfTheReferenceAndMore) {
  QuantizationResult result;
  result.quantized_path = "out/model";
  result.compression_ratio = 3.5;
  result.cosine_similarity = 1;
  result.worst_cosine_similarity = 0.75;
  result.worst_layer = "proj.weight";
  result.sqnr_db = 20.25;
  result.model_size_mb = 1.5;
  result.modality = "image";
  result.modality_evidence = "DiTPipeline";
  result.bit_width = 4;
  result.quantization_time_s = 0.25;
  result.flush_time_s = 0.125;
  result.bits_per_weight = 4.25;
  result.bits_per_weight_model = 5;
  result.num_quantized = 1;
  result.num_kept = 1;
  result.peak_memory_mb = 80;
  result.layers = {kept_layer(), quantized_layer()};
  result.promotions = {{"proj.weight", 2, 4, 0.5, 0.75, 8192}};
  result.mechanisms.time_aware = {true, true, ""};
  result.mechanisms.spatial = {true, false, "no calibration data"};
  result.mechanisms.thermodynamic = {false, false, "off"};
  result.mechanisms.low_rank = {true, true, ""};
  result.mechanisms.calibration = "c.parquet";
  result.allocation = Allocation{"target_size_mb",
                                 2,
                                 1.5,
                                 20000,
                                 17408,
                                 0.5,
                                 {LayerAllocation{"proj.weight",
                                                  "transformer",
                                                  32768,
                                                  0,
                                                  2,
                                                  "proj.qkv",
                                                  0.25,
                                                  "int2 is below min_accuracy",
                                                  {{"int4", 4, 17408, 0.25, 0.75, true}}}}};
  result.warnings = {"a warning"};
  result.resumed = true;
  result.markov =
      MarkovReport{0.75,
                   0.5,
                   0.25,
                   {{"transformer/proj.weight", {0.75, 0.5, {{1, 0.5, 0.125, JumpCause::Real}}}}}};

  json expected = json::parse(R"({
    "quantized_path": "out/model", "compression_ratio": 3.5, "cosine_similarity": 1.0,
    "worst_cosine_similarity": 0.75, "worst_layer": "proj.weight", "sqnr_db": 20.25,
    "model_size_mb": 1.5, "modality": "image", "modality_evidence": "DiTPipeline", "bit_width": 4,
    "quantization_time_s": 0.25, "flush_time_s": 0.125,
    "bits_per_weight": 4.25, "bits_per_weight_model": 5.0,
    "num_quantized": 1, "num_kept": 1, "peak_memory_mb": 80.0, "resumed": true,
    "up_to_date": false, "warnings": ["a warning"],
    "time_aware_applied": true, "time_aware_reason": "", "spatial_applied": false,
    "spatial_reason": "no calibration data", "thermodynamic_applied": false,
    "thermodynamic_reason": "off", "low_rank_applied": true, "low_rank_reason": "",
    "calibration": "c.parquet",
    "markov_validation": {
      "score": 0.75, "largest_jump": 0.5, "smoothness_threshold": 0.25, "num_violations": 1,
      "violations": [{"layer": "transformer/proj.weight", "boundary": 1, "jump": 0.5,
                      "noise_floor": 0.125, "cause": "real"}],
      "layers": [{"name": "transformer/proj.weight", "score": 0.75, "largest_jump": 0.5}]},
    "promotions": [{"name": "proj.weight", "from_bits": 2, "to_bits": 4, "accuracy_before": 0.5,
                    "accuracy_after": 0.75, "extra_bytes": 8192}],
    "allocation": {
      "target": "target_size_mb", "target_value": 2.0, "reached": 1.5, "budget_bytes": 20000,
      "stored_bytes": 17408, "weighted_error": 0.5,
      "layers": [{
        "name": "proj.weight", "component": "transformer", "quant_type": "int4", "bit_width": 4,
        "num_params": 32768, "chosen": 0, "error_weight": 2.0, "group": "proj.qkv",
        "gain_per_byte": 0.25, "rule": "int2 is below min_accuracy",
        "choices": [{"quant_type": "int4", "bit_width": 4, "stored_bytes": 17408, "nmse": 0.25,
                     "cosine_similarity": 0.75, "allowed": true}]}]}})");
  expected["layers"] = json::parse(kLayersJson);
  EXPECT_EQ(json::parse(to_json(result)), expected);
}

TEST(ResultJsonTest, ANumberWithoutFractionStaysAFloat) {
  QuantizationResult result;
  result.compression_ratio = 2;
  EXPECT_THAT(to_json(result), testing::HasSubstr("\"compression_ratio\":2.0,"));
  EXPECT_THAT(to_json(result), testing::HasSubstr("\"allocation\":null,"));
}

TEST(ResultJsonTest, AValidationResultMapsLayersToTheirCosine) {
  ValidationResult result;
  result.cosine_similarity = 0.75;
  result.worst_cosine_similarity = 0.5;
  result.worst_layer = "b";
  result.sqnr_db = kInfinity;
  result.compression_ratio = 2.5;
  result.model_size_mb = 1.5;
  result.min_accuracy = 0.25;
  result.passed = true;
  result.layers = {{"a", "unet", "int4", 1, kInfinity, 0}, {"b", "unet", "int8", 0.5, 3.5, 0.25}};
  result.mismatches = {{"c", "missing"}};

  EXPECT_EQ(json::parse(to_json(result)), json::parse(R"({
    "cosine_similarity": 0.75, "compression_ratio": 2.5, "model_size_mb": 1.5,
    "per_layer_accuracy": {"a": 1.0, "b": 0.5}, "passed": true, "worst_cosine_similarity": 0.5,
    "worst_layer": "b", "sqnr_db": null, "min_accuracy": 0.25,
    "mismatches": [{"name": "c", "problem": "missing"}],
    "layers": [
      {"name": "a", "component": "unet", "quant_type": "int4", "cosine_similarity": 1.0,
       "sqnr_db": null, "max_abs_error": 0.0},
      {"name": "b", "component": "unet", "quant_type": "int8", "cosine_similarity": 0.5,
       "sqnr_db": 3.5, "max_abs_error": 0.25}]})"));
}

TEST(ResultJsonTest, ANameInSeveralComponentsHasItsComponentInFront) {
  ValidationResult result;
  result.layers = {{"a", "transformer", "int4", 1, 0, 0},
                   {"a", "transformer_2", "int4", 0.5, 0, 0},
                   {"b", "transformer", "int4", 0.25, 0, 0}};
  EXPECT_EQ(json::parse(to_json(result))["per_layer_accuracy"],
            json::parse(R"({"transformer/a": 1.0, "transformer_2/a": 0.5, "b": 0.25})"));
}

TEST(ResultJsonTest, AnInspectionListsTensorsAndTotals) {
  ModelInspection inspection;
  inspection.kind = "source";
  inspection.path = "model";
  inspection.modality = "unknown";
  inspection.modality_evidence = "nothing tells";
  inspection.num_params = 32832;
  inspection.source_bytes = 131200;
  inspection.stored_bytes = 17536;
  inspection.bits_per_weight = 4.25;
  inspection.bits_per_weight_model = 4.5;
  inspection.components = {
      {"text_encoder", std::nullopt},
      {"transformer",
       TimeGroups{
           "timestep", "linear betas", {900, 500, 1.5}, {-4, 0, 4.5}, {700}, {-2}, "cubic", 3}}};
  inspection.layers = {kept_layer(), quantized_layer()};
  inspection.warnings = {"w"};
  json expected = json::parse(R"({
    "kind": "source", "path": "model", "modality": "unknown",
    "modality_evidence": "nothing tells", "num_params": 32832, "source_bytes": 131200,
    "stored_bytes": 17536, "bits_per_weight": 4.25, "bits_per_weight_model": 4.5,
    "warnings": ["w"],
    "components": [{"name": "text_encoder", "time_groups": null},
                   {"name": "transformer", "time_groups": {
                     "kind": "timestep", "schedule": "linear betas", "timesteps": [900.0, 500.0, 1.5],
                     "log_snr": [-4.0, 0.0, 4.5], "boundaries_timestep": [700.0],
                     "boundaries_log_snr": [-2.0], "interpolation": "cubic", "window": 3,
                     "activation_interpolation": ""}}]})");
  expected["layers"] = json::parse(kLayersJson);
  EXPECT_EQ(json::parse(to_json(inspection)), expected);
}

TEST(ResultJsonTest, BytesThatAreNotUtf8DoNotBreakTheText) {
  const std::string text = error_json("Io", "cannot read \xFF\n\"x\"");
  EXPECT_EQ(json::parse(text),
            json({{"error", {{"code", "Io"}, {"message", "cannot read \uFFFD\n\"x\""}}}}));
}

}  // namespace
}  // namespace arrow_quant
