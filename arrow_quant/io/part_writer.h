// PartWriter: blocks → one Parquet part file, written in one pass without copying codes.
//
// The file stands under a temporary name in its directory until finish() has flushed it to disk and
// renamed it. A writer destroyed before leaves nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

// Where a block stands in its part.
struct BlockLocation {
  std::string layer_name;
  int32_t block_index = 0;
  int32_t row_group = 0;
  int64_t row = 0;  // within the row group
  // Bytes of the codes (or of the kept source), of the scales and offsets as compressed, and of
  // extras' arrays.
  int64_t stored_bytes = 0;
  LayerExtras extras;
};

struct PartInfo {
  uint64_t size_bytes = 0;
  std::string xxh3_128;               // of the file, 32 hexadecimal digits
  std::vector<BlockLocation> blocks;  // in the order of append()
};

class PartWriter {
 public:
  // path: the final name. metadata: the file's key-value metadata; format version and the features
  // that the blocks require are added. cancel: as in AtomicFile. Throws: Error(Io).
  PartWriter(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
             const CancelToken* cancel = nullptr);
  ~PartWriter();
  PartWriter(const PartWriter&) = delete;
  PartWriter& operator=(const PartWriter&) = delete;

  // A quantized block, or a kept one of 64 KiB and more, becomes a row group of its own at once.
  // Kept blocks below 64 KiB share row groups of at most 256 rows: consecutive ones are gathered,
  // and written when 256 are there, another kind follows, or the part is finished.
  // What is written at once leaves its buffers to the caller; what is gathered is moved from.
  // Throws: Error(Io); Error(Unsupported) for a block of 2 GiB and more, which Parquet cannot hold;
  // Error(Metadata) for extras that do not fit the block.
  void append(QuantizedBlock&& block);

  // Writes the footer, flushes to disk, renames into place. Throws: Error(Io), Error(Cancelled).
  PartInfo finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bytes that a block's scales, offsets and extras take as stored: its stored bytes are these and
// its codes. Nothing else of the block is looked at.
int64_t stored_param_bytes(QuantizedBlock& block);

}  // namespace arrow_quant
