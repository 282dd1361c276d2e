// OriginalModel: the side of a validation that counts as the truth: a source model, or itself a
// quantized one. Gives rows of its tensors as they are loaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/dtype.h"
#include "arrow_quant/io/model_dir.h"
#include "arrow_quant/pipeline/quantized_model.h"

namespace arrow_quant {

class OriginalModel {
 public:
  struct Tensor {
    std::string component;
    std::string name;
    std::vector<int64_t> shape;
    DType dtype = DType::F32;  // of what read() gives
    uint64_t size_bytes = 0;
    size_t shard_component = 0, shard = 0;  // of a source model
    uint64_t begin = 0;
    int64_t quantized_index = -1;  // of a quantized one
    bool values_only = false;      // it is quantized itself: its bytes are not the source's
  };

  // Looks for the components of `manifest`. Throws: what opening the model throws.
  OriginalModel(const std::filesystem::path& path, const Manifest& manifest);

  const std::vector<Tensor>& tensors() const { return tensors_; }

  // The bytes of a tensor from `offset` on. Any thread may call it. Throws: Error(Io).
  void read(const Tensor& tensor, uint64_t offset, std::span<uint8_t> out) const;
  // A tensor of a quantized model as float32; nothing for one of a source model.
  std::optional<Buffer> load(const Tensor& tensor) const;

 private:
  void list_source_tensors();
  void list_quantized_tensors();

  std::optional<ModelDir> source_;
  std::optional<QuantizedModel> quantized_;
  std::vector<Tensor> tensors_;
};

}  // namespace arrow_quant
