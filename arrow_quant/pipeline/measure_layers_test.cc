#include "arrow_quant/pipeline/measure_layers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/allocate_bits.h"
#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/quantize_model.h"

namespace arrow_quant {
namespace {

using namespace testing_model;

class MeasureLayers : public testing::Test {
 protected:
  void write(const std::vector<TestTensor>& tensors) {
    write_safetensors(dir / "model.safetensors", tensors);
  }
  // Everything that a target would count, at all widths from 2 bits on.
  Measurement measure(int64_t num_threads = 2, bool only_digest = false) {
    DiffusionQuantConfig wide = config;
    wide.target_bits_per_weight = 4;
    const ModelDir model = open_model_dir(dir / "model.safetensors", {});
    const Plan plan = make_plan(model, wide);
    Progress progress({}, 0);
    return measure_layers(layers_to_measure(plan), {&config, static_cast<size_t>(num_threads),
                                                    &progress, nullptr, only_digest});
  }

  TempDir dir;
  DiffusionQuantConfig config;
};

TEST_F(MeasureLayers, FiguresAreThoseOfARunAtThatWidth) {
  std::vector<float> tiny = gaussian(256 * 300, 4, 1e-7f);  // needs another tensor scale
  write({bf16_tensor("blocks.0.attn.to_q.weight", {192, 320}, 1),
         bf16_tensor("blocks.0.mlp.fc1.weight", {1300, 733}, 2),  // several chunks, odd sizes
         f32_tensor("blocks.0.conv.weight", {64, 40, 3, 3}, gaussian(64 * 40 * 9, 3)),
         f32_tensor("blocks.0.tiny.weight", {256, 300}, tiny),
         f32_tensor("blocks.0.zero.weight", {128, 128}, std::vector<float>(128 * 128))});
  config.min_accuracy = 0;
  config.group_size = 64;
  for (const QuantMethod method : {QuantMethod::Rtn, QuantMethod::Mse}) {
    config.method = method;
    const Measurement measured = measure();
    ASSERT_EQ(measured.layers.size(), 5u);
    for (size_t w = 0; w < 3; ++w) {
      config.bit_width = int64_t{2} << w;
      config.overwrite = true;
      const QuantizationResult result =
          quantize_model(dir / "model.safetensors", dir / "out", config, {});
      for (size_t i = 0; i < 5; ++i) {
        SCOPED_TRACE(result.layers[i].name + " " + std::to_string(config.bit_width));
        const WidthMeasure& m = measured.layers[i].widths.at(w);
        EXPECT_EQ(bits_of(m.width), config.bit_width);
        EXPECT_EQ(m.cosine, result.layers[i].cosine_similarity);
        EXPECT_EQ(m.stored_bytes, result.layers[i].stored_bytes);
        // SQNR = −10 log10 of the error; log10 and its inverse round.
        EXPECT_NEAR(m.nmse, std::pow(10, -*result.layers[i].sqnr_db / 10), m.nmse * 1e-12);
      }
    }
  }
}

TEST_F(MeasureLayers, FiguresAreTheSameForAnyNumberOfThreads) {
  write({bf16_tensor("blocks.0.fc1.weight", {1024, 1024}, 1),
         bf16_tensor("blocks.0.fc2.weight", {96, 200}, 2)});
  const Measurement one = measure(1);
  for (const int64_t num_threads : {2, 5}) {
    const Measurement many = measure(num_threads);
    EXPECT_EQ(many.digest, one.digest);
    for (size_t i = 0; i < 2; ++i) {
      for (size_t w = 0; w < 3; ++w) {
        EXPECT_EQ(many.layers[i].widths[w].nmse, one.layers[i].widths[w].nmse);
        EXPECT_EQ(many.layers[i].widths[w].stored_bytes, one.layers[i].widths[w].stored_bytes);
      }
    }
  }
}

TEST_F(MeasureLayers, TheDigestIsThatOfTheBytesAlone) {
  std::vector<TestTensor> tensors = {bf16_tensor("blocks.0.fc1.weight", {512, 1024}, 1),
                                     bf16_tensor("blocks.0.fc2.weight", {96, 200}, 2)};
  write(tensors);
  const std::string before = measure().digest;
  config.method = QuantMethod::Rtn;
  config.group_size = 32;
  EXPECT_EQ(measure().digest, before);
  EXPECT_EQ(measure(2, true).digest, before);
  EXPECT_TRUE(measure(2, true).layers[0].widths.empty());
  tensors[1].bytes.back() ^= 1;
  write(tensors);
  EXPECT_NE(measure().digest, before);
}

TEST_F(MeasureLayers, ALayerWithANonFiniteWeightIsAnErrorOrHasNoMeasure) {
  std::vector<float> values = gaussian(128 * 256, 1);
  values[300] = std::numeric_limits<float>::infinity();
  write({f32_tensor("blocks.0.fc1.weight", {128, 256}, values)});
  try {
    measure();
    ADD_FAILURE() << "no error was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::NonFinite);
  }
  config.on_nonfinite = OnNonFinite::Keep;
  const Measurement measured = measure();
  EXPECT_TRUE(measured.layers[0].widths.empty());
  EXPECT_EQ(measured.layers[0].non_finite, "holds inf at [1, 44]");
}

}  // namespace
}  // namespace arrow_quant
