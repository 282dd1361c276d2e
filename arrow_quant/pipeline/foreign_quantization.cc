#include "arrow_quant/pipeline/foreign_quantization.h"

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/component_config.h"
#include "arrow_quant/io/quote.h"

namespace arrow_quant {
namespace {

// Matrices of these types are codes wherever a model is quantized: weights are of wider floating
// types, and indices in buffers are of 64 bits.
bool holds_codes(const TensorInfo& tensor) {
  return tensor.shape.size() >= 2 && tensor.dtype != DType::Bool && tensor.dtype != DType::I64 &&
         tensor.dtype < DType::F16 && tensor.dtype != DType::C64;
}

}  // namespace

std::vector<std::string> warnings_of_foreign_quantization(const ModelDir& model) {
  std::vector<std::string> warnings;
  for (const ModelComponent& component : model.components) {
    const std::string method = quantization_method(component.config_json);
    if (method.empty() || method == "arrow_quant") {
      continue;
    }
    const std::string config = (component.subdir / "config.json").string();
    for (const SafetensorsFile& shard : component.shards) {
      for (const TensorInfo& tensor : shard.tensors()) {
        if (holds_codes(tensor)) {
          throw Error(ErrorCode::Unsupported,
                      shard.path().string() + ": tensor " + quote(tensor.name) + " of type " +
                          std::string(to_string(tensor.dtype)) + " is quantized by " +
                          printable(method) + " already, as \"quantization_config\" of " + config +
                          " says, and such codes are not read; pass the original model, or save "
                          "this one dequantized");
        }
      }
    }
    warnings.push_back(config + ": \"quantization_config\" says " + printable(method) +
                       ", but no tensor holds its codes; the output has its own in this place. "
                       "Remove it from the source if the weights are not quantized");
  }
  return warnings;
}

}  // namespace arrow_quant
