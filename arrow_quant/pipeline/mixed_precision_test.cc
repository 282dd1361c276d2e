#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/quantize_model.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

using namespace testing_model;
using testing::HasSubstr;

// Normal weights, some of them far outside: such layers lose more at few bits.
TestTensor weight(const std::string& name, std::vector<int64_t> shape, uint32_t seed,
                  float outliers) {
  std::vector<float> values = gaussian(num_elements(shape), seed);
  for (size_t i = 0; i < values.size(); i += 97) {
    values[i] *= outliers;
  }
  return f32_tensor(name, std::move(shape), values);
}

// Two blocks of a transformer, with layers that go together, that count twice, that have a least
// width, and that are kept.
std::vector<TestTensor> model() {
  std::vector<TestTensor> tensors;
  for (const std::string block : {"blocks.0.", "blocks.1."}) {
    const auto seed = static_cast<uint32_t>(block[7] - '0') * 20;
    const float outliers = block[7] == '0' ? 1.0f : 6.0f;
    tensors.push_back(weight(block + "attn1.to_q.weight", {128, 192}, seed + 1, outliers));
    tensors.push_back(weight(block + "attn1.to_k.weight", {128, 192}, seed + 2, 1));
    tensors.push_back(weight(block + "attn1.to_v.weight", {128, 192}, seed + 3, outliers));
    tensors.push_back(weight(block + "attn1.to_out.0.weight", {192, 128}, seed + 4, 3));
    tensors.push_back(weight(block + "ff.net.0.proj.weight", {400, 192}, seed + 5, 1));
    tensors.push_back(weight(block + "ff.net.2.weight", {192, 400}, seed + 6, outliers));
    tensors.push_back(weight(block + "norm1.linear.weight", {384, 192}, seed + 7, 1));
    tensors.push_back(f32_tensor(block + "norm1.bias", {192}, gaussian(192, seed + 8)));
  }
  tensors.push_back(weight("x_embedder.weight", {192, 192}, 50, 1));
  return tensors;
}

class MixedPrecision : public testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(input(), model());
    config.num_threads = 2;
    config.modality = Modality::Image;
    config.group_size = 64;
    config.min_accuracy = 0;
  }
  fs::path input() const { return dir / "model.safetensors"; }
  QuantizationResult quantize(const std::string& name, const RunHooks& hooks = {}) {
    return quantize_model(input(), dir / name, config, hooks);
  }
  QuantizationResult quantize_anew(const RunHooks& hooks = {}) {
    fs::remove_all(dir / "out");
    return quantize("out", hooks);
  }
  std::string refusal() {
    fs::remove_all(dir / "out");
    try {
      quantize("out");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Configuration);
      EXPECT_FALSE(fs::exists(dir / "out"));
      return error.what();
    }
    ADD_FAILURE() << "nothing was refused";
    return "";
  }
  static std::map<std::string, LayerReport> by_name(const QuantizationResult& result) {
    std::map<std::string, LayerReport> layers;
    for (const LayerReport& layer : result.layers) {
      layers[layer.name] = layer;
    }
    return layers;
  }
  static int64_t largest_step(const Allocation& allocation) {
    std::map<std::string, int64_t> most;  // of a group all together
    for (const LayerAllocation& layer : allocation.layers) {
      most[layer.group.empty() ? layer.name : layer.group] +=
          layer.choices.back().stored_bytes - layer.choices.front().stored_bytes;
    }
    int64_t largest = 0;
    for (const auto& [name, bytes] : most) {
      largest = std::max(largest, bytes);
    }
    return largest;
  }

  TempDir dir;
  DiffusionQuantConfig config;
};

TEST_F(MixedPrecision, PatternsGiveLayersTheirBits) {
  config.bit_width = 4;
  config.layer_bit_widths = {{"to_[qk]$", 2},
                             {"ff\\.net\\.2", 16},
                             {"attn1", 8},
                             {"norm1\\.linear|x_embedder", 4},
                             {"no_such_layer", 2}};
  const QuantizationResult result = quantize("out");
  auto layers = by_name(result);
  EXPECT_EQ(layers["blocks.0.attn1.to_q.weight"].quant_type, "int2");
  EXPECT_EQ(layers["blocks.0.attn1.to_v.weight"].quant_type, "int8");
  EXPECT_EQ(layers["blocks.0.ff.net.0.proj.weight"].quant_type, "int4");
  EXPECT_EQ(layers["blocks.0.ff.net.2.weight"].quant_type, "none");
  EXPECT_EQ(layers["blocks.0.ff.net.2.weight"].reason, "layer_bit_widths: ff\\.net\\.2 = 16");
  EXPECT_EQ(layers["blocks.0.norm1.linear.weight"].quant_type, "int4");
  EXPECT_EQ(layers["x_embedder.weight"].quant_type, "int4");
  EXPECT_EQ(layers["blocks.0.norm1.bias"].quant_type, "none");
  ASSERT_EQ(result.warnings.size(), 1u);
  EXPECT_THAT(result.warnings[0], HasSubstr("layer_bit_widths: 'no_such_layer' matches no tensor"));
  EXPECT_FALSE(result.allocation);
}

TEST_F(MixedPrecision, LayersOfAPatternBelowMinAccuracyGetMoreBitsLikeAllOthers) {
  config.bit_width = 8;
  config.min_accuracy = 0.98;  // gauss: .945 at 2 bits, .995 at 4
  config.layer_bit_widths = {{"blocks\\.0\\.attn1\\.to_q", 2}};
  const QuantizationResult result = quantize("out");
  ASSERT_EQ(result.promotions.size(), 1u);
  EXPECT_EQ(result.promotions[0].name, "blocks.0.attn1.to_q.weight");
  EXPECT_EQ(result.promotions[0].to_bits, 4);
}

TEST_F(MixedPrecision, ATargetOfBitsPerWeightHoldsAndIsUsedUpToLessThanAStep) {
  double before = 1e300;
  for (const double target : {4.0, 4.2, 4.5, 5.0, 6.0, 8.0, 12.0, 31.0}) {
    config.target_bits_per_weight = target;
    const QuantizationResult result = quantize_anew();
    const Allocation& allocation = *result.allocation;
    int64_t bytes = 0, params = 0;
    auto layers = by_name(result);
    for (const LayerAllocation& layer : allocation.layers) {
      bytes += layers[layer.name].stored_bytes;
      params += layer.num_params;
    }
    EXPECT_EQ(bytes, allocation.stored_bytes);
    EXPECT_EQ(allocation.reached, 8.0 * static_cast<double>(bytes) / static_cast<double>(params));
    EXPECT_LE(allocation.reached, target);
    EXPECT_LT(allocation.budget_bytes - bytes, largest_step(allocation));
    EXPECT_LT(allocation.weighted_error, before) << "more bits, less error";
    before = allocation.weighted_error;
  }
}

TEST_F(MixedPrecision, EveryLayerIsExplainedByWhatTheRunThenMeasures) {
  config.target_bits_per_weight = 5;
  const QuantizationResult result = quantize("out");
  auto layers = by_name(result);
  ASSERT_EQ(result.allocation->layers.size(), 14u) << "all but biases and the embedder";
  double error = 0;
  for (const LayerAllocation& layer : result.allocation->layers) {
    SCOPED_TRACE(layer.name);
    const WidthChoice& chosen = layer.choices.at(layer.chosen);
    const LayerReport& report = layers[layer.name];
    EXPECT_EQ(report.quant_type, chosen.quant_type);
    EXPECT_EQ(report.bit_width, chosen.bit_width);
    EXPECT_EQ(report.stored_bytes, chosen.stored_bytes);
    EXPECT_EQ(report.cosine_similarity.value_or(1), chosen.cosine_similarity);
    EXPECT_THAT(report.reason, testing::StartsWith("allocated: "));
    EXPECT_TRUE(chosen.allowed);
    EXPECT_EQ(layer.choices.back().quant_type, "none");
    EXPECT_EQ(layer.choices.back().stored_bytes, report.source_bytes);
    EXPECT_EQ(layer.error_weight, layer.name.ends_with("net.2.weight") ? 2 : 1);
    EXPECT_EQ(layer.gain_per_byte.has_value(), layer.chosen > 0);
    for (size_t i = 1; i < layer.choices.size(); ++i) {
      EXPECT_GT(layer.choices[i].stored_bytes, layer.choices[i - 1].stored_bytes);
      EXPECT_LT(layer.choices[i].nmse, layer.choices[i - 1].nmse);
    }
    error += layer.error_weight * chosen.nmse;
  }
  EXPECT_NEAR(result.allocation->weighted_error, error, error * 1e-12);
  EXPECT_EQ(quantize("out").allocation, result.allocation) << "as the manifest has it";
  EXPECT_EQ(result.bit_width, 4) << "that of most weights";
}

TEST_F(MixedPrecision, LayersThatGoTogetherHaveTheSameBits) {
  for (const double target : {4.2, 4.6, 5.2, 6.5}) {
    config.target_bits_per_weight = target;
    auto layers = by_name(quantize_anew());
    for (const std::string block : {"blocks.0.", "blocks.1."}) {
      const std::string q = layers[block + "attn1.to_q.weight"].quant_type;
      EXPECT_EQ(layers[block + "attn1.to_k.weight"].quant_type, q);
      EXPECT_EQ(layers[block + "attn1.to_v.weight"].quant_type, q);
    }
  }
}

TEST_F(MixedPrecision, SensitiveLayersKeepTheirLeastWidthUnlessAPatternSaysOtherwise) {
  config.target_bits_per_weight = 4;
  QuantizationResult result = quantize_anew();
  EXPECT_EQ(by_name(result)["blocks.0.norm1.linear.weight"].quant_type, "int8");
  EXPECT_EQ(by_name(result)["blocks.0.norm1.linear.weight"].reason,
            "allocated: 8 bits for adaLN modulation: norm1");
  config.target_bits_per_weight = 3;
  EXPECT_THAT(refusal(), HasSubstr("the least possible is 3."));
  config.layer_bit_widths = {{"norm1\\.linear", 2}};
  result = quantize_anew();
  EXPECT_EQ(by_name(result)["blocks.0.norm1.linear.weight"].quant_type, "int2");
  EXPECT_LE(result.allocation->reached, 3);
  config.layer_bit_widths.emplace_back("blocks\\.1\\.attn1\\.to_q", 16);
  EXPECT_THAT(refusal(), HasSubstr("the least possible is 3.")) << "kept layers of a pattern count";
  config.target_bits_per_weight = 4;
  result = quantize_anew();
  EXPECT_EQ(by_name(result)["blocks.1.attn1.to_q.weight"].quant_type, "none");
  for (const LayerAllocation& layer : result.allocation->layers) {
    if (layer.rule.starts_with("layer_bit_widths")) {
      EXPECT_FALSE(layer.gain_per_byte);
      EXPECT_EQ(layer.group, "");
    }
  }
}

TEST_F(MixedPrecision, WidthsBelowMinAccuracyAreNotOffered) {
  config.min_accuracy = 0.98;  // gauss: .945 at 2 bits, .995 at 4
  config.target_bits_per_weight = 5.5;
  config.layer_bit_widths = {{"blocks\\.0\\.ff\\.net\\.0", 2}};
  const QuantizationResult result = quantize("out");
  ASSERT_EQ(result.promotions.size(), 1u) << "only what was asked for";
  EXPECT_LE(result.allocation->reached, 5.5) << "the promoted layer is counted as it came out";
  EXPECT_EQ(by_name(result)["blocks.0.ff.net.0.proj.weight"].stored_bytes,
            result.allocation->layers[4].choices[result.allocation->layers[4].chosen].stored_bytes);
  for (const LayerAllocation& layer : result.allocation->layers) {
    EXPECT_NE(layer.choices[layer.chosen].quant_type, "int2");
    if (!layer.name.ends_with("linear.weight")) {
      EXPECT_FALSE(layer.choices[0].allowed);
      EXPECT_THAT(layer.rule, HasSubstr("int2 is below min_accuracy"));
    }
  }
}

TEST_F(MixedPrecision, ATargetOfSizeHoldsForTheFilesAndIsUsedUp) {
  for (const int64_t part_size_mb : {1, 2048}) {
    config.max_part_size_mb = part_size_mb;
    for (const double target : {0.52, 0.6, 0.8, 1.6, 1e6}) {
      config.target_size_mb = target;
      const QuantizationResult result = quantize_anew();
      int64_t part_bytes = 0;
      for (const auto& [path, contents] : read_tree(dir / "out")) {
        part_bytes += path.ends_with(".parquet") ? static_cast<int64_t>(contents.size()) : 0;
      }
      EXPECT_EQ(result.allocation->reached, static_cast<double>(part_bytes) / 1e6);
      EXPECT_LE(result.allocation->reached, target);
      // What is left is less than a step, and what the bound on overhead is above the truth.
      const int64_t left = static_cast<int64_t>(target * 1e6) - part_bytes;
      if (target < 1e6) {
        EXPECT_LT(left, largest_step(*result.allocation) + part_bytes / 50) << target;
      } else {
        EXPECT_EQ(result.num_quantized, 0);
      }
    }
  }
}

TEST_F(MixedPrecision, TheLeastThatARefusalNamesCanBeAskedFor) {
  for (const bool size : {false, true}) {
    (size ? config.target_size_mb : config.target_bits_per_weight) = 0.1;
    (size ? config.target_bits_per_weight : config.target_size_mb).reset();
    const std::string message = refusal();
    EXPECT_THAT(message, HasSubstr(size ? "target_size_mb = 0.1" : "target_bits_per_weight = 0.1"));
    EXPECT_THAT(message, HasSubstr(size ? " MB, the most 2." : " bits per weight, the most 32"));
    const std::string before = "the least possible is ";
    const double least = std::stod(message.substr(message.find(before) + before.size()));
    (size ? config.target_size_mb : config.target_bits_per_weight) = least;
    EXPECT_LE(quantize_anew().allocation->reached, least);
  }
}

TEST_F(MixedPrecision, BytesAreTheSameForAnyNumberOfThreads) {
  config.target_bits_per_weight = 4.5;
  config.num_threads = 1;
  quantize("one");
  for (const int threads : {2, 5}) {
    config.num_threads = threads;
    const std::string name = "out" + std::to_string(threads);
    quantize(name);
    EXPECT_EQ(read_tree(dir / name), read_tree(dir / "one")) << threads;
  }
}

// Three parts of one layer each; the first loses most at 2 bits. So few tensors are all told of.
class UnfinishedMixedPrecision : public MixedPrecision {
 protected:
  void SetUp() override {
    MixedPrecision::SetUp();
    write(1);
    config.max_part_size_mb = 1;
    config.target_bits_per_weight = 3.2;  // one of them gets 4 bits
  }
  void write(float outliers_of_the_last) {
    write_safetensors(input(),
                      {weight("blocks.0.fc.weight", {2048, 1024}, 0, 4),
                       weight("blocks.1.fc.weight", {2048, 1024}, 1, 1),
                       weight("blocks.2.fc.weight", {2048, 1024}, 2, outliers_of_the_last)});
  }
  void stop_at(const std::string& beginning) {
    CancelToken cancel;
    RunHooks hooks;
    hooks.cancel = &cancel;
    hooks.keep_unfinished = true;
    hooks.progress = [&](std::string_view message, double) {
      if (message.starts_with(beginning)) cancel.cancel();
    };
    EXPECT_THROW(quantize_anew(hooks), Error);
    EXPECT_FALSE(fs::exists(dir / "out" / kManifestName));
  }
};

TEST_F(UnfinishedMixedPrecision, IsTakenUpWithTheSameBytesAndNotMeasuredTwice) {
  quantize("whole");
  for (const std::string beginning : {"blocks.1.fc.weight measured", "blocks.1.fc.weight →"}) {
    stop_at(beginning);
    bool measured = false;
    RunHooks hooks;
    hooks.progress = [&](std::string_view message, double) {
      measured = measured || message.ends_with("measured");
    };
    const QuantizationResult result = quantize("out", hooks);
    EXPECT_EQ(measured, beginning.ends_with("measured"));
    EXPECT_EQ(result.resumed, !measured);
    EXPECT_EQ(read_tree(dir / "out"), read_tree(dir / "whole")) << beginning;
  }
}

TEST_F(UnfinishedMixedPrecision, IsMeasuredAgainIfALaterPartOfTheSourceChanged) {
  EXPECT_EQ(quantize("before").layers[0].quant_type, "int4");
  stop_at("blocks.1.fc.weight →");
  EXPECT_TRUE(fs::exists(dir / "out" / "quantized-00001-of-00003.parquet"));
  write(8);
  EXPECT_EQ(quantize("fresh").layers[0].quant_type, "int2");
  EXPECT_FALSE(quantize("out").resumed);
  EXPECT_EQ(read_tree(dir / "out"), read_tree(dir / "fresh"));
}

TEST_F(MixedPrecision, ModeBaseSharesBitsOutWithoutTheRulesForDiffusion) {
  config.mode = QuantMode::Base;
  config.target_bits_per_weight = 3;
  const QuantizationResult result = quantize("out");
  EXPECT_LE(result.allocation->reached, 3);
  ASSERT_EQ(result.allocation->layers.size(), 15u) << "all but biases";
  for (const LayerAllocation& layer : result.allocation->layers) {
    EXPECT_EQ(layer.error_weight, 1) << layer.name;
    EXPECT_EQ(layer.choices[0].quant_type, "int2") << layer.name;
    EXPECT_EQ(layer.rule, "") << layer.name;
  }
}

TEST_F(MixedPrecision, ProgressRunsFromZeroToOneThroughMeasuringAndWriting) {
  config.target_bits_per_weight = 4.5;
  std::vector<double> fractions;
  RunHooks hooks;
  hooks.progress = [&](std::string_view, double fraction) { fractions.push_back(fraction); };
  quantize("out", hooks);
  EXPECT_EQ(fractions.front(), 0.0);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
}

TEST_F(MixedPrecision, ALayerKeptForANonFiniteWeightCountsAsItIs) {
  std::vector<TestTensor> tensors = model();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(tensors[4].bytes.data() + 4, &nan, 4);
  write_safetensors(input(), tensors);
  config.on_nonfinite = OnNonFinite::Keep;
  config.target_bits_per_weight = 9;
  const QuantizationResult result = quantize("out");
  EXPECT_EQ(by_name(result)["blocks.0.ff.net.0.proj.weight"].reason, "holds nan at [0, 1]");
  EXPECT_EQ(result.allocation->layers[4].rule, "holds nan at [0, 1]");
  EXPECT_LE(result.allocation->reached, 9);
}

}  // namespace
}  // namespace arrow_quant
