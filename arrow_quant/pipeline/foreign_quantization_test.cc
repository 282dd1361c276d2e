#include "arrow_quant/pipeline/foreign_quantization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "arrow_quant/pipeline/model_test_util.h"
#include "arrow_quant/pipeline/orchestrator.h"

namespace arrow_quant {
namespace {

using namespace testing_model;
using testing::HasSubstr;

TestTensor codes(const std::string& name, DType dtype, std::vector<int64_t> shape) {
  const int64_t bytes = num_elements(shape) * bits_of(dtype) / 8;
  return {name, dtype, std::move(shape), std::string(static_cast<size_t>(bytes), '\1')};
}

QuantizationResult quantize(const TempDir& dir) {
  DiffusionQuantConfig config;
  config.modality = Modality::Image;
  return DiffusionOrchestrator(config).quantize_model(dir / "m", dir / "out");
}

constexpr const char* kBitsAndBytes = R"({"quantization_config":{"quant_method":"bitsandbytes"}})";

TEST(ForeignQuantization, OfWeightsThatAreNoneIsAWarning) {
  const struct {
    const char* config;
    std::vector<std::string> warnings;
  } cases[] = {
      {"{}", {}},
      {R"({"quantization_config":null})", {}},
      {R"({"quantization_config":{"quant_method":"arrow_quant"}})", {}},
      {kBitsAndBytes,
       {"config.json: \"quantization_config\" says bitsandbytes, but no tensor holds its codes; "
        "the "
        "output has its own in this place. Remove it from the source if the weights are not "
        "quantized"}},
      {R"({"quantization_config":{"bits":4}})",
       {"config.json: \"quantization_config\" says an unknown tool, but no tensor holds its codes; "
        "the output has its own in this place. Remove it from the source if the weights are not "
        "quantized"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.config);
    const TempDir dir;
    write_text(dir / "m/config.json", c.config);
    write_safetensors(dir / "m/model.safetensors",
                      {bf16_tensor("a.weight", {64, 64}, 1),
                       codes("position_ids", DType::I64, {1, 8}), codes("steps", DType::I32, {8})});
    const QuantizationResult result = quantize(dir);
    std::vector<std::string> warnings;
    for (const std::string& warning : result.warnings) {
      if (warning.find("quantization_config") != std::string::npos) {
        warnings.push_back(warning);
      }
    }
    EXPECT_EQ(warnings, c.warnings);
  }
}

TEST(ForeignQuantization, OfCodesIsAnErrorThatNamesOne) {
  const TestTensor cases[] = {
      codes("blocks.0.fc.weight", DType::U8, {2048, 1}),      // bitsandbytes, 4 bits
      codes("blocks.0.fc.weight", DType::I8, {64, 64}),       // bitsandbytes, 8 bits
      codes("blocks.0.fc.qweight", DType::I32, {8, 64}),      // GPTQ, AWQ
      codes("blocks.0.fc.weight", DType::F8_E4M3, {64, 64}),  // fp8 with scales beside it
  };
  for (const TestTensor& tensor : cases) {
    SCOPED_TRACE(to_string(tensor.dtype));
    const TempDir dir;
    write_text(dir / "m/config.json", kBitsAndBytes);
    write_safetensors(dir / "m/model.safetensors", {tensor});
    std::string message;
    EXPECT_EQ(code_of([&] { quantize(dir); }, &message), ErrorCode::Unsupported);
    EXPECT_THAT(message, HasSubstr("model.safetensors: tensor \"" + tensor.name + "\" of type " +
                                   std::string(to_string(tensor.dtype)) +
                                   " is quantized by bitsandbytes already"));
    EXPECT_THAT(message, HasSubstr("pass the original model, or save this one dequantized"));
    EXPECT_FALSE(std::filesystem::exists(dir / "out"));

    write_text(dir / "m/config.json", "{}");  // then they are integers as any others
    quantize(dir);
  }
}

}  // namespace
}  // namespace arrow_quant
