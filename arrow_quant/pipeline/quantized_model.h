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
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/quantized_block.h"
#include "arrow_quant/pipeline/result.h"
#include "arrow_quant/quant/quantize.h"

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
  const Manifest& manifest() const;
  // All tensors, component by component, in the order of the source.
  const std::vector<LayerReport>& tensors() const;
  // Of the component of that name, "" for the one of a model that has one; null where values do not
  // change with the timestep. Throws: Error(Configuration) where there is no such component.
  const TimeGroups* time_groups(const std::string& component) const;
  // Index into tensors(); −1 if there is none of that name. "component/tensor" finds any tensor,
  // the plain name one that stands in a single component.
  int64_t find(const std::string& name) const;

  // The shortest name by which find() finds tensor `index`.
  std::string name_of(int64_t index) const;

  // Block `block` of tensor `index`, with its codes, and with those arrays of its extras that
  // undoing transforms takes, also where they stand in block 0. Any thread may call it. Throws:
  // Error(Io), Error(Metadata).
  size_t num_blocks(int64_t index) const;
  QuantizedBlock read_block(int64_t index, size_t block) const;

  // The extras of a whole tensor: low_rank_u [rows, rank] and bias_corrections [groups, rows] of
  // all rows. No codes are read. Throws: like read_block().
  BlockExtras extras(int64_t index) const;

  // The whole tensor in `dtype` (F32, F16 or BF16), row-major, its transforms undone. Kept tensors:
  // a quantizable source dtype is converted; for others `dtype` must be the source's own.
  Buffer dequantize(int64_t index, DType dtype) const;

 private:
  struct Impl;
  explicit QuantizedModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The codes of a quantized block as dequantize_rows() takes them; what is to be undone then is
// transforms_view(block.header.extras).
CodesView codes_view(const QuantizedBlock& block);

}  // namespace arrow_quant
