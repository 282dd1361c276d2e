// One row of a part file: a block of whole rows of a tensor, quantized or kept. The columns and
// their meanings are in FORMAT.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/dtype.h"
#include "arrow_quant/io/block_extras.h"

namespace arrow_quant {

// Everything of a block but its codes and parameters.
struct BlockHeader {
  std::string layer_name;
  std::vector<int64_t> shape;  // of the whole tensor
  DType dtype = DType::F32;    // of the source
  int32_t block_index = 0;
  int64_t row_start = 0;
  int64_t row_count = 0;
  int64_t num_params = 0;  // in this block
  int bit_width = 0;       // 2, 4, 8; kept: bits of the source's dtype
  bool quantized = false;
  int32_t group_size = 0;  // 0 where kept
  float tensor_scale = 1.0f;
  std::string method;       // "rtn", "mse"; "" where kept
  std::string kept_reason;  // "" where quantized
  // Measured on this block after a real dequantization; unset where kept.
  std::optional<float> cosine_similarity, sqnr_db, max_abs_error;
  // Of what the block's rows put out for calibrating inputs, against the source; unset where none
  // were there.
  std::optional<float> output_sqnr_db;
  bool is_diffusion_model = false;
  std::string modality;
  std::string component;
  BlockExtras extras;  // empty where kept

  std::string quant_type() const { return quantized ? "int" + std::to_string(bit_width) : "none"; }
};

struct QuantizedBlock {
  // Room before `data`'s bytes in its buffer, where a writer puts the value's length in place.
  static constexpr size_t kDataPrefixBytes = 4;

  BlockHeader header;
  // kDataPrefixBytes of room, then the packed codes (each row on a byte) or the source's bytes.
  Buffer data;
  size_t data_size_bytes = 0;
  Buffer scales;   // fp16, one per group, row-major; empty where kept
  Buffer offsets;  // like scales; empty where kept or 8 bits

  uint8_t* codes() { return data.data() + kDataPrefixBytes; }
  const uint8_t* codes() const { return data.data() + kDataPrefixBytes; }
};

}  // namespace arrow_quant
