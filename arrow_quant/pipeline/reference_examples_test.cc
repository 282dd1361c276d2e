// The examples of the reference's Rust API, translated.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/orchestrator.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

class ReferenceExamples : public testing::Test {
 protected:
  void SetUp() override {
    testing_model::write_safetensors(
        dir / "dream-7b/model.safetensors",
        {testing_model::bf16_tensor("blocks.0.attn.to_q.weight", {512, 512}, 1)});
  }

  TempDir dir;
};

TEST_F(ReferenceExamples, QuantizeModel) {
  const DiffusionQuantConfig config;
  const DiffusionOrchestrator orchestrator(config);
  const QuantizationResult result =
      orchestrator.quantize_model(dir / "dream-7b", dir / "dream-7b-int4");
  std::printf("Compression: %.2fx\n", result.compression_ratio);
  EXPECT_GT(result.compression_ratio, 3.0);
}

TEST(Orchestrator, HasTheDefaultsWithoutAConfig) {
  EXPECT_EQ(DiffusionOrchestrator().config(), DiffusionQuantConfig());
}

TEST_F(ReferenceExamples, FromProfile) {
  const auto edge_config = DiffusionQuantConfig::from_profile(DeploymentProfile::Edge);
  const auto local_config = DiffusionQuantConfig::from_profile(DeploymentProfile::Local);
  const auto cloud_config = DiffusionQuantConfig::from_profile(DeploymentProfile::Cloud);
  EXPECT_EQ(edge_config.bit_width, 2);
  EXPECT_EQ(local_config.bit_width, 4);
  EXPECT_EQ(cloud_config.bit_width, 8);
  EXPECT_TRUE(edge_config.enable_streaming);
}

TEST_F(ReferenceExamples, Validate) {
  DiffusionQuantConfig config;
  config.validate();
  config.bit_width = 3;
  EXPECT_THROW(config.validate(), Error);
}

TEST_F(ReferenceExamples, YamlRoundTrip) {
  DiffusionQuantConfig config;
  config.thermodynamic.boundary_smoothing.interpolation = InterpolationMethod::Cubic;
  config.thermodynamic.transition_optimization.beta_schedule = BetaSchedule::Cosine;
  config.modality = Modality::Audio;
  config.to_yaml(dir / "config.yaml");
  EXPECT_EQ(DiffusionQuantConfig::from_yaml(dir / "config.yaml"), config);
}

TEST_F(ReferenceExamples, ErrorTypes) {
  const auto told = [&](int64_t bit_width, const fs::path& model) -> std::string {
    try {
      DiffusionQuantConfig config;
      config.bit_width = bit_width;
      DiffusionOrchestrator(config).quantize_model(model, dir / "out");
      return "success";
    } catch (const Error& error) {
      switch (error.code()) {
        case ErrorCode::InvalidBitWidth:
          return "invalid bit width";
        case ErrorCode::Configuration:
          return "config error";
        default:
          return "error: " + std::string(to_string(error.code()));
      }
    }
  };
  EXPECT_EQ(told(3, dir / "dream-7b"), "invalid bit width");
  EXPECT_EQ(told(4, dir / "missing"), "error: ModelNotFound");
  EXPECT_EQ(told(4, dir / "dream-7b"), "success");
}

}  // namespace
}  // namespace arrow_quant
