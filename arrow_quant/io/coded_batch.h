// CodedBatch: the codes, parameters and metrics of quantized weights, laid out as the columns of an
// Arrow record batch. Kernels write into its buffers, and to_arrow() hands the same buffers out.
//
// Columns: layer_name string, quantized_data large_binary, scales and zero_points list<float32>,
// shape list<int64>, bit_width uint8, group_size int32, cosine_similarity and sqnr_db float32; with
// errors also error string. One row per layer, in order.
//   w ≈ scale · (code − zero_point)
// Codes lie as quantize.h has them: rows of [out, in·…], each starting on a byte, lsb_first; 8 bits
// are signed. Parameters: one per group, row by row; zero points of 8 bits are 0.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/io/arrow_batch.h"
#include "arrow_quant/io/weight_row.h"
#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {

// Where the results of one row go. A row with an error has no room, and is null in the columns.
struct CodedRow {
  std::span<uint8_t> codes;
  std::span<float> scales;
  std::span<float> zero_points;
  float cosine_similarity = 0;
  float sqnr_db = 0;
  std::optional<Error> error;
};

class CodedBatch {
 public:
  // Room for the codes of `rows`, uninitialized; rows with an error keep it. Throws:
  // Error(InvalidRow) for more groups than a list column can hold.
  CodedBatch(std::span<const WeightRow> rows, BitWidth bit_width, size_t group_size);

  std::span<CodedRow> rows() { return rows_; }
  // Gives a row an error, and zeroes what was written of it.
  void fail(size_t row, Error error);
  // note: becomes the schema's metadata "note" unless empty.
  // Lifetime: the batch keeps the buffers; `layers`, the rows this was made for, are copied.
  ArrowBatch to_arrow(std::span<const WeightRow> layers, bool with_errors,
                      const std::string& note) &&;

 private:
  BitWidth bit_width_;
  size_t group_size_;
  Buffer codes_;
  Buffer scales_;
  Buffer zero_points_;
  std::vector<CodedRow> rows_;
};

}  // namespace arrow_quant
