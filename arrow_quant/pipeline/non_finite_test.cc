#include "arrow_quant/pipeline/non_finite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/orchestrator.h"

namespace arrow_quant {
namespace {

using namespace testing_model;
using testing::HasSubstr;

TEST(NonFinite, IsToldWithTheFileOfItsTensor) {
  const TempDir dir;
  std::vector<float> weights = gaussian(192 * 320, 1);
  weights[321] = std::copysign(NAN, -1.0f);  // as 0/0 gives on some machines
  write_safetensors(dir / "m/model-1-of-2.safetensors",
                    {bf16_tensor("blocks.0.attn.to_q.weight", {192, 320}, 1)});
  write_safetensors(dir / "m/model-2-of-2.safetensors",
                    {f32_tensor("blocks.1.attn.to_q.weight", {192, 320}, weights)});
  for (const bool shared_out : {false, true}) {
    DiffusionQuantConfig config;
    config.modality = Modality::Image;
    if (shared_out) {
      config.target_bits_per_weight = 5;
    }
    std::string message;
    EXPECT_EQ(code_of([&] { DiffusionOrchestrator(config).quantize_model(dir / "m", dir / "out"); },
                      &message),
              ErrorCode::NonFinite);
    EXPECT_THAT(message,
                HasSubstr((dir / "m/model-2-of-2.safetensors").string() +
                          ": tensor 'blocks.1.attn.to_q.weight' holds nan at index [1, 1]; "));
  }
}

}  // namespace
}  // namespace arrow_quant
