// PartReader: one Parquet part file → blocks, each read only when asked for.
//
// Reads what PartWriter wrote, and the same table rewritten by another tool (dictionary pages,
// compression, one row group, nullable columns).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {

class PartReader {
 public:
  // Throws: Error(Io); Error(Metadata) for a file that is not such a part or contradicts itself;
  // Error(Unsupported) for a newer format version or an unknown packing, encoding, transform or
  // required feature, naming it.
  static PartReader open(const std::filesystem::path& path);
  PartReader(PartReader&&) noexcept;
  PartReader& operator=(PartReader&&) noexcept;
  ~PartReader();

  // The headers of all blocks, in the order of the file. No codes have been read, and none of the
  // arrays of extras.
  const std::vector<BlockHeader>& blocks() const;
  // codes + scales + offsets + extras as stored, of each block in blocks().
  const std::vector<int64_t>& stored_bytes() const;
  const std::map<std::string, std::string>& metadata() const;

  // Reads one block's bulk bytes and the arrays of its extras, checks their sizes against the
  // header, and the checksum of its data.
  // Any thread may call it. Throws: Error(Io), Error(Metadata).
  QuantizedBlock read(size_t index) const;

  // Only the extras of a block, with their arrays. Any thread may call it.
  // Throws: Error(Io), Error(Metadata).
  BlockExtras read_extras(size_t index) const;

 private:
  struct Impl;
  explicit PartReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arrow_quant
