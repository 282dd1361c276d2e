#include "arrow_quant/pipeline/quantize_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/quantized_model.h"
#include "arrow_quant/pipeline/validate_model.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

using namespace testing_model;
using testing::HasSubstr;

// A model with layers of odd sizes, a norm, a bias, an embedder and an integer table.
std::vector<TestTensor> small_model() {
  return {
      bf16_tensor("blocks.0.attn.to_q.weight", {192, 320}, 1),
      bf16_tensor("blocks.0.attn.to_q.bias", {192}, 2),
      bf16_tensor("blocks.0.norm.weight", {320}, 3),
      bf16_tensor("blocks.0.mlp.fc1.weight", {300, 333}, 4),  // no size divides anything
      f32_tensor("blocks.0.conv.weight", {64, 40, 3, 3}, gaussian(64 * 40 * 9, 5)),
      bf16_tensor("time_embed.linear_1.weight", {320, 256}, 6),
      {"position_ids", DType::I64, {77}, bytes_of(std::vector<int64_t>(77, 3))},
  };
}

class QuantizeModel : public testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(input(), small_model());
    config.num_threads = 2;
    config.modality = Modality::Image;
  }
  fs::path input() const { return dir / "model.safetensors"; }
  QuantizationResult quantize(const std::string& name, const RunHooks& hooks = {}) {
    return quantize_model(input(), dir / name, config, hooks);
  }
  const LayerReport& layer(const QuantizationResult& result, const std::string& name) {
    for (const LayerReport& layer : result.layers) {
      if (layer.name == name) return layer;
    }
    throw std::out_of_range(name);
  }

  TempDir dir;
  DiffusionQuantConfig config;
};

TEST_F(QuantizeModel, LinearAndConvolutionWeightsGetTheAskedBitsAndTheRestIsKept) {
  for (const int bits : {2, 4, 8}) {
    config.bit_width = bits;
    const QuantizationResult result = quantize("out" + std::to_string(bits));
    EXPECT_EQ(result.num_quantized, 3);
    EXPECT_EQ(result.num_kept, 4);
    for (const char* name :
         {"blocks.0.attn.to_q.weight", "blocks.0.mlp.fc1.weight", "blocks.0.conv.weight"}) {
      EXPECT_EQ(layer(result, name).bit_width, bits) << name;
      EXPECT_EQ(layer(result, name).reason, "");
    }
    for (const LayerReport& kept : result.layers) {
      EXPECT_EQ(kept.quant_type == "none", !kept.reason.empty()) << kept.name;
    }
  }
}

TEST_F(QuantizeModel, KeptTensorsComeBackAsTheyWere) {
  quantize("out");
  const QuantizedModel model = QuantizedModel::open(dir / "out");
  for (const TestTensor& tensor : small_model()) {
    const int64_t index = model.find(tensor.name);
    ASSERT_GE(index, 0) << tensor.name;
    if (model.tensors()[static_cast<size_t>(index)].quant_type == "none") {
      const Buffer bytes = model.dequantize(index, tensor.dtype);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size_bytes()),
                tensor.bytes);
    }
  }
}

TEST_F(QuantizeModel, ValidationMeasuresWhatTheRunReported) {
  const QuantizationResult result = quantize("out");
  const ValidationResult found = validate_model(input(), dir / "out", config, {});
  EXPECT_TRUE(found.passed);
  EXPECT_TRUE(found.mismatches.empty());
  ASSERT_EQ(found.layers.size(), 3u);
  for (const LayerValidation& measured : found.layers) {
    const LayerReport& reported = layer(result, measured.name);
    // Sums are added up in pieces of another size.
    EXPECT_NEAR(measured.cosine_similarity, *reported.cosine_similarity, 1e-9);
    EXPECT_NEAR(measured.sqnr_db, *reported.sqnr_db, 1e-6);
    EXPECT_EQ(measured.max_abs_error, *reported.max_abs_error);
  }
}

TEST_F(QuantizeModel, BytesAreTheSameForAnyNumberOfThreads) {
  config.num_threads = 1;
  quantize("one");
  for (const int threads : {2, 3, 8}) {
    config.num_threads = threads;
    const std::string name = "out" + std::to_string(threads);
    quantize(name);
    EXPECT_EQ(read_tree(dir / name), read_tree(dir / "one")) << threads;
  }
}

TEST_F(QuantizeModel, ARunThatWasStoppedAnywhereCompletesWithTheSameBytes) {
  std::vector<TestTensor> tensors;
  for (uint32_t i = 0; i < 12; ++i) {
    tensors.push_back(bf16_tensor("blocks." + std::to_string(i) + ".fc.weight", {512, 1024}, i));
  }
  write_safetensors(input(), tensors);
  config.max_part_size_mb = 1;
  quantize("whole");
  bool any_resumed = false;
  for (int stop_at = 1; stop_at <= 8; ++stop_at) {  // so many calls come in any case
    CancelToken cancel;
    RunHooks hooks;
    hooks.cancel = &cancel;
    hooks.keep_unfinished = true;
    int calls = 0;
    hooks.progress = [&](std::string_view, double) {
      if (++calls == stop_at) cancel.cancel();
    };
    fs::remove_all(dir / "out");
    EXPECT_EQ(code_of([&] { quantize("out", hooks); }), ErrorCode::Cancelled);
    EXPECT_FALSE(fs::exists(dir / "out" / kManifestName));
    EXPECT_EQ(code_of([&] { QuantizedModel::open(dir / "out"); }), ErrorCode::ModelNotFound);
    const bool has_part = fs::exists(dir / "out" / "quantized-00001-of-00004.parquet");
    const QuantizationResult result = quantize("out");
    EXPECT_EQ(read_tree(dir / "out"), read_tree(dir / "whole")) << stop_at;
    EXPECT_EQ(result.resumed, has_part) << stop_at;
    any_resumed = any_resumed || has_part;
  }
  EXPECT_TRUE(any_resumed);
}

TEST_F(QuantizeModel, AnUnfinishedRunOfOtherOptionsOrAnotherSourceStartsOver) {
  CancelToken cancel;
  RunHooks hooks;
  hooks.cancel = &cancel;
  hooks.progress = [&](std::string_view, double) { cancel.cancel(); };
  EXPECT_EQ(code_of([&] { quantize("out", hooks); }), ErrorCode::Cancelled);
  config.bit_width = 8;
  EXPECT_FALSE(quantize("out").resumed);
  quantize("fresh");
  EXPECT_EQ(read_tree(dir / "out"), read_tree(dir / "fresh"));
}

TEST_F(QuantizeModel, AFinishedOutputIsVerifiedAndNotWrittenAgain) {
  quantize("out");
  const auto before = read_tree(dir / "out");
  const auto time = fs::last_write_time(dir / "out" / kManifestName);
  const QuantizationResult again = quantize("out");
  EXPECT_TRUE(again.up_to_date);
  EXPECT_EQ(again.num_quantized, 3);
  EXPECT_EQ(fs::last_write_time(dir / "out" / kManifestName), time);
  EXPECT_EQ(read_tree(dir / "out"), before);
}

TEST_F(QuantizeModel, WhatElseStandsAtTheOutputIsNotTouchedUnlessAsked) {
  quantize("finished");
  write_text(dir / "foreign" / "notes.txt", "mine");
  write_text(dir / "file", "mine");
  config.bit_width = 8;
  for (const char* name : {"finished", "foreign", "file"}) {
    const auto before =
        fs::is_directory(dir / name) ? read_tree(dir / name) : std::map<std::string, std::string>{};
    EXPECT_EQ(code_of([&] { quantize(name); }), ErrorCode::OutputExists) << name;
    EXPECT_TRUE(fs::exists(dir / name));
    if (fs::is_directory(dir / name)) {
      EXPECT_EQ(read_tree(dir / name), before);
    }
  }
  quantize("fresh");
  config.overwrite = true;
  for (const char* name : {"finished", "foreign", "file"}) {
    quantize(name);
    EXPECT_EQ(read_tree(dir / name), read_tree(dir / "fresh")) << name;
  }
}

TEST_F(QuantizeModel, ADamagedOutputIsNotCalledUpToDate) {
  quantize("out");
  const fs::path part = dir / "out" / "quantized-00001-of-00001.parquet";
  std::fstream(part, std::ios::in | std::ios::out | std::ios::binary).seekp(100).put('x');
  std::string message;
  EXPECT_EQ(code_of([&] { quantize("out"); }, &message), ErrorCode::OutputExists);
  EXPECT_THAT(message, HasSubstr("damaged"));
}

TEST_F(QuantizeModel, OutputAndInputStayApart) {
  fs::create_directories(dir / "model");
  fs::rename(input(), dir / "model" / "model.safetensors");
  for (const auto& [in, out] : std::vector<std::pair<fs::path, fs::path>>{
           {dir / "model", dir / "model"},
           {dir / "model", dir / "model" / "out"},
           {dir / "model", dir / "model" / ".." / "model" / "out"},
           {dir / "model", dir.path()},
           {dir / "model" / "model.safetensors", dir / "model"},
           {dir / "model" / "model.safetensors", dir / "model" / "model.safetensors"},
       }) {
    EXPECT_EQ(code_of([&] { quantize_model(in, out, config, {}); }), ErrorCode::Configuration)
        << out;
  }
}

TEST_F(QuantizeModel, NonFiniteWeightsNameTensorIndexAndValueAndLeaveNothing) {
  std::vector<TestTensor> tensors = small_model();
  std::vector<float> values = gaussian(64 * 40 * 9, 5);
  values[5 * 40 * 9 + 7 * 9 + 4] = std::numeric_limits<float>::quiet_NaN();
  tensors[4].bytes = bytes_of(values);
  write_safetensors(input(), tensors);
  std::string message;
  EXPECT_EQ(code_of([&] { quantize("out"); }, &message), ErrorCode::NonFinite);
  EXPECT_THAT(message, HasSubstr("'blocks.0.conv.weight' holds nan at index [5, 7, 1, 1]"));
  EXPECT_THAT(message, HasSubstr(input().string()));
  EXPECT_FALSE(fs::exists(dir / "out"));

  config.on_nonfinite = OnNonFinite::Keep;
  const QuantizationResult result = quantize("out");
  EXPECT_EQ(layer(result, "blocks.0.conv.weight").quant_type, "none");
  EXPECT_THAT(layer(result, "blocks.0.conv.weight").reason, HasSubstr("nan"));
  EXPECT_EQ(result.num_quantized, 2);
}

TEST_F(QuantizeModel, LayersBelowMinAccuracyGetMoreBitsAndAreListed) {
  config.bit_width = 2;
  config.min_accuracy = 0.98;  // gauss: .945 at 2 bits, .995 at 4
  QuantizationResult result = quantize("four");
  ASSERT_EQ(result.promotions.size(), 3u);
  for (const Promotion& promotion : result.promotions) {
    EXPECT_EQ(promotion.from_bits, 2);
    EXPECT_EQ(promotion.to_bits, 4);
    EXPECT_LT(promotion.accuracy_before, 0.98);
    EXPECT_GE(promotion.accuracy_after, 0.98);
    EXPECT_EQ(*layer(result, promotion.name).cosine_similarity, promotion.accuracy_after);
    EXPECT_GT(promotion.extra_bytes, 0);
  }
  EXPECT_EQ(result.promotions[1].extra_bytes, 300 * (167 - 84));  // 333 codes of a row

  config.min_accuracy = 0.9999;
  result = quantize("eight");
  EXPECT_EQ(result.promotions.at(0).to_bits, 8);
  config.min_accuracy = 1.0;
  result = quantize("kept");
  EXPECT_EQ(result.num_quantized, 0);
  EXPECT_EQ(result.promotions.at(0).to_bits, 16);
  EXPECT_EQ(result.promotions.at(0).accuracy_after, 1.0);
  EXPECT_TRUE(validate_model(input(), dir / "kept", config, {}).passed);
}

TEST_F(QuantizeModel, FailFastNamesTheLayerAndWritesNothing) {
  config.bit_width = 2;
  config.min_accuracy = 0.98;
  config.fail_fast = true;
  std::string message;
  EXPECT_EQ(code_of([&] { quantize("out"); }, &message), ErrorCode::QualityBelowThreshold);
  EXPECT_THAT(message, HasSubstr("weight: cosine similarity 0.9"));
  EXPECT_THAT(message, HasSubstr("0.98"));
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST_F(QuantizeModel, WeightsBeyondTheReachOfHalfPrecisionKeepTheirQuality) {
  std::vector<float> base = gaussian(64 * 256, 9, 1.0f);
  for (const float factor : {1e-30f, 1e-12f, 1.0f, 1e12f, 1e30f}) {
    std::vector<float> values = base;
    for (float& value : values) value *= factor;
    write_safetensors(input(), {f32_tensor("fc.weight", {64, 256}, values)});
    for (const int bits : {2, 4, 8}) {
      config.bit_width = bits;
      fs::remove_all(dir / "out");
      const QuantizationResult result = quantize("out");
      const double floor[] = {0, 0, 9.0, 0, 20.2, 0, 0, 0, 43.5};
      EXPECT_GE(result.layers[0].sqnr_db.value(), floor[bits]) << factor << " " << bits;
    }
  }
}

TEST_F(QuantizeModel, WeightsThatCodesCouldRestoreAsInfinityAreKept) {
  std::vector<float> values = gaussian(64 * 256, 9, 1e30f);
  values[300] = -3.4028e38f;
  write_safetensors(input(), {f32_tensor("fc.weight", {64, 256}, values)});
  QuantizationResult result = quantize("out");
  EXPECT_EQ(result.layers[0].quant_type, "none");
  EXPECT_THAT(result.layers[0].reason, HasSubstr("3.4028e+38"));

  values[300] = -1.7e38f;
  write_safetensors(input(), {f32_tensor("fc.weight", {64, 256}, values)});
  result = quantize("codes");
  EXPECT_EQ(result.layers[0].quant_type, "int4");
}

TEST_F(QuantizeModel, ATensorOfSeveralBlocksIsTheSameAsItsRows) {
  // 8192 × 16384 codes of 8 bits are two blocks of 64 MiB. Only some rows hold weights, so the
  // file is sparse.
  const int64_t rows = 8192, cols = 16384;
  const std::vector<float> row = gaussian(cols, 3);
  const std::string header =
      R"({"fc.weight":{"dtype":"F32","shape":[8192,16384],"data_offsets":[0,536870912]}})";
  const uint64_t length = header.size();
  write_text(input(), std::string(reinterpret_cast<const char*>(&length), 8) + header);
  fs::resize_file(input(), 8 + length + 4ull * rows * cols);
  {
    std::fstream file(input(), std::ios::in | std::ios::out | std::ios::binary);
    for (const int64_t at : {0, 4095, 4096, 8191}) {
      file.seekp(static_cast<std::streamoff>(8 + length + 4ull * at * cols));
      file.write(reinterpret_cast<const char*>(row.data()), 4 * cols);
    }
  }
  config.bit_width = 8;
  const QuantizationResult result = quantize("out");
  const QuantizedModel model = QuantizedModel::open(dir / "out");
  ASSERT_EQ(model.num_blocks(0), 2u);
  EXPECT_GT(*result.layers[0].sqnr_db, 43.5);
  const Buffer restored = model.dequantize(0, DType::F32);
  const auto values = restored.as<float>();
  for (const int64_t at : {4095, 4096, 8191}) {
    EXPECT_TRUE(std::equal(values.begin(), values.begin() + cols, values.begin() + at * cols))
        << at;
  }
  EXPECT_EQ(values[static_cast<size_t>(cols)], 0.0f);
}

TEST_F(QuantizeModel, ProgressRunsFromZeroToOneAndTellsOfTheFirstTensors) {
  std::vector<double> fractions;
  std::vector<std::string> messages;
  RunHooks hooks;
  hooks.progress = [&](std::string_view message, double fraction) {
    fractions.push_back(fraction);
    messages.emplace_back(message);
    if (fraction == 1.0) {
      EXPECT_TRUE(fs::exists(dir / "out" / kManifestName));
    }
  };
  quantize("out", hooks);
  EXPECT_EQ(fractions.front(), 0.0);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_THAT(messages, testing::Contains(HasSubstr("blocks.0.attn.to_q.weight")));
  EXPECT_THAT(messages, testing::Contains(HasSubstr("position_ids kept")));
}

TEST_F(QuantizeModel, WhatACallbackThrowsComesOutUnchanged) {
  RunHooks hooks;
  hooks.progress = [](std::string_view, double fraction) {
    if (fraction > 0) throw std::domain_error("enough");
  };
  EXPECT_THROW(quantize("out", hooks), std::domain_error);
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST_F(QuantizeModel, APipelineIsMirroredWithItsOtherFilesCarriedOver) {
  const fs::path root = dir / "pipe";
  write_text(root / "model_index.json",
             R"({"_class_name":"DiTPipeline","transformer":["diffusers","DiTTransformer2DModel"],)"
             R"("scheduler":["diffusers","DDIMScheduler"],"vae":["diffusers","AutoencoderKL"]})");
  write_text(root / "scheduler/scheduler_config.json", R"({"beta_start":0.0001})");
  write_text(root / "transformer/config.json", R"({"_class_name":"DiTTransformer2DModel","z":1})");
  write_safetensors(root / "transformer/diffusion_pytorch_model.safetensors", small_model());
  write_safetensors(root / "vae/diffusion_pytorch_model.safetensors", small_model());
  write_text(root / "transformer/diffusion_pytorch_model.bin", "pickle");
  config.modality.reset();
  const QuantizationResult result = quantize_model(root, dir / "out", config, {});
  EXPECT_EQ(result.modality, "image");
  const auto files = read_tree(dir / "out");
  const auto source = read_tree(root);
  EXPECT_EQ(files.at("scheduler/scheduler_config.json"),
            source.at("scheduler/scheduler_config.json"));
  EXPECT_EQ(files.at("vae/diffusion_pytorch_model.safetensors"),
            source.at("vae/diffusion_pytorch_model.safetensors"));
  EXPECT_TRUE(files.contains("transformer/quantized-00001-of-00001.parquet"));
  EXPECT_FALSE(files.contains("transformer/diffusion_pytorch_model.bin"));
  EXPECT_THAT(files.at("transformer/config.json"), HasSubstr(R"("quant_method": "arrow_quant")"));
  EXPECT_THAT(files.at("transformer/config.json"), HasSubstr(R"("z": 1)"));
  EXPECT_THAT(files.at("manifest.json"), HasSubstr("diffusion_pytorch_model.bin"));
}

TEST_F(QuantizeModel, InModeBaseEveryComponentIsQuantizedWhateverItsLayersDo) {
  const fs::path root = dir / "pipe";
  write_text(root / "model_index.json",
             R"({"_class_name":"Pipeline","language_model":["transformers","Some"],)"
             R"("scheduler":["diffusers","S"],"vae":["diffusers","AutoencoderKL"]})");
  write_text(root / "scheduler/scheduler_config.json", "{}");
  write_safetensors(root / "language_model/model.safetensors", small_model());
  write_safetensors(root / "vae/diffusion_pytorch_model.safetensors", small_model());
  config.modality.reset();
  EXPECT_EQ(code_of([&] { quantize_model(root, dir / "out", config, {}); }),
            ErrorCode::ModelNotFound);
  config.mode = QuantMode::Base;
  config.bit_width = 2;
  const QuantizationResult result = quantize_model(root, dir / "out", config, {});
  EXPECT_EQ(result.num_quantized, 8);  // the embedder too
  EXPECT_EQ(layer(result, "time_embed.linear_1.weight").bit_width, 2);
  EXPECT_TRUE(result.warnings.empty());
  EXPECT_TRUE(validate_model(root, dir / "out", config, {}).passed);
  const QuantizedModel model = QuantizedModel::open(dir / "out");
  EXPECT_FALSE(model.read_block(0, 0).header.is_diffusion_model);
}

TEST_F(QuantizeModel, ValidationReportsMissingExtraAndReshapedTensors) {
  quantize("out");
  std::vector<TestTensor> tensors = small_model();
  tensors[0].name = "renamed.weight";
  tensors[3].shape = {333, 300};
  tensors[6].bytes[0] = 4;
  write_safetensors(input(), tensors);
  const ValidationResult found = validate_model(input(), dir / "out", config, {});
  EXPECT_FALSE(found.passed);
  std::map<std::string, std::string> problems;
  for (const TensorMismatch& mismatch : found.mismatches) {
    problems[mismatch.name] = mismatch.problem;
  }
  EXPECT_THAT(problems["blocks.0.attn.to_q.weight"], HasSubstr("extra"));
  EXPECT_THAT(problems["renamed.weight"], HasSubstr("missing"));
  EXPECT_THAT(problems["blocks.0.mlp.fc1.weight"], HasSubstr("[333, 300]"));
  EXPECT_THAT(problems["position_ids"], HasSubstr("differ"));
}

TEST_F(QuantizeModel, ValidationFailsWhereAnyLayersCosineIsNotANumber) {
  std::vector<TestTensor> tensors;
  for (const char* name : {"a.weight", "b.weight", "c.weight"}) {
    tensors.push_back(f32_tensor(name, {64, 256}, gaussian(64 * 256, 9)));
  }
  write_safetensors(input(), tensors);
  config.min_accuracy = 0;
  quantize("out");
  for (size_t bad = 0; bad < tensors.size(); ++bad) {
    std::vector<TestTensor> other = tensors;
    std::vector<float> values = gaussian(64 * 256, 9);
    values[70] = std::numeric_limits<float>::quiet_NaN();
    other[bad].bytes = bytes_of(values);
    write_safetensors(dir / "other.safetensors", other);
    const ValidationResult found =
        validate_model(dir / "other.safetensors", dir / "out", config, {});
    EXPECT_FALSE(found.passed) << bad;
    EXPECT_EQ(found.worst_layer, other[bad].name);
    EXPECT_TRUE(std::isnan(found.worst_cosine_similarity));
  }
}

TEST_F(QuantizeModel, WhatLosesNothingHasAnInfiniteRatioOfSignalToNoise) {
  write_safetensors(input(),
                    {f32_tensor("fc.weight", {64, 256}, std::vector<float>(64 * 256, 0.5f))});
  EXPECT_EQ(quantize("out").sqnr_db, std::numeric_limits<double>::infinity());
  EXPECT_EQ(validate_model(input(), dir / "out", config, {}).sqnr_db,
            std::numeric_limits<double>::infinity());
}

TEST_F(QuantizeModel, AQuantizedModelCanBeTheOriginalOfAValidation) {
  config.bit_width = 8;
  quantize("eight");
  config.bit_width = 4;
  quantize("four");
  const ValidationResult found = validate_model(dir / "eight", dir / "four", config, {});
  EXPECT_TRUE(found.passed);
  EXPECT_GT(found.worst_cosine_similarity, 0.99);
  EXPECT_LT(found.worst_cosine_similarity, 1.0);
  const ValidationResult same = validate_model(dir / "four", dir / "four", config, {});
  EXPECT_DOUBLE_EQ(same.worst_cosine_similarity, 1.0);
}

}  // namespace
}  // namespace arrow_quant
