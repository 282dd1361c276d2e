// QuantizedModel: a finished output directory, opened for reading. Lazy: opening reads the
// manifest and the parts' footers; a tensor's codes are read when it is asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/dtype.h"
#include "arrow_quant/io/quantized_block.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant {

class QuantizedModel {
 public:
  // Throws: Error(ModelNotFound) where there is no manifest (saying if it is an unfinished run),
  // Error(Metadata) for contradictions, Error(Unsupported) for what this version cannot decode.
  static QuantizedModel open(const std::filesystem::path& path);
  QuantizedModel(QuantizedModel&&) noexcept;
  QuantizedModel& operator=(QuantizedModel&&) noexcept;
  ~QuantizedModel();

  const std::filesystem::path& path() const;
  // The text of manifest.json.
  const std::string& manifest_json() const;
  // All tensors, component by component, in the order of the source.
  const std::vector<LayerReport>& tensors() const;
  // Index into tensors(); −1 if there is none of that name. With several components, names are
  // "component/tensor" where the plain name stands in more than one.
  int64_t find(const std::string& name) const;

  // The blocks of tensor `index`, with their codes. Any thread may call it.
  std::vector<QuantizedBlock> read_blocks(int64_t index) const;

  // The whole tensor in `dtype` (F32, F16 or BF16), row-major. Kept tensors: a quantizable
  // source dtype is converted; for others `dtype` must be the source's own.
  Buffer dequantize(int64_t index, DType dtype) const;

 private:
  struct Impl;
  explicit QuantizedModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arrow_quant
