// A safetensors file: its checked header, and where each tensor's bytes lie.
//
//   [u64 little-endian N][N bytes of JSON: {"name": {"dtype", "shape", "data_offsets": [begin,
//   end]},
//   "__metadata__": {string: string}}][data]
//
// Source: the format's description and reference implementation (huggingface/safetensors). Nothing
// a header says is believed before it was checked against the file's size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/io/input_file.h"
#include "arrow_quant/io/input_reader.h"

namespace arrow_quant {

struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // offset of the first byte in the file
  uint64_t size_bytes = 0;

  uint64_t num_elements() const;
};

class SafetensorsFile {
 public:
  // Throws: Error(Io); Error(InvalidModel) naming file, tensor, value and what is allowed.
  static SafetensorsFile open(const std::filesystem::path& path);

  const InputFile& file() const { return file_; }
  const std::filesystem::path& path() const { return file_.path(); }
  // In the order of their data in the file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // The header's "__metadata__".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // A tensor's bytes [offset, offset + size_bytes), aligned for its type, as InputReader::read().
  std::span<const uint8_t> read(const TensorInfo& tensor, uint64_t offset, uint64_t size_bytes,
                                InputReader& reader) const;
  // Offset of the data section: 8 + the header's length.
  uint64_t data_begin() const { return data_begin_; }

 private:
  explicit SafetensorsFile(InputFile file) : file_(std::move(file)) {}

  InputFile file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  uint64_t data_begin_ = 0;
};

}  // namespace arrow_quant
