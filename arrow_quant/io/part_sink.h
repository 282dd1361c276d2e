// PartSink: the file that a part is written into, as an Arrow output stream. It stands under a
// temporary name until commit(); a sink destroyed before removes it. The file's hash is taken in
// the pass that writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <arrow/io/interfaces.h>
#include <arrow/result.h>

#include "arrow_quant/io/hash.h"

namespace arrow_quant {

class PartSink final : public arrow::io::OutputStream {
 public:
  // Creates the temporary file beside `path`, the final name. Throws: Error(Io).
  explicit PartSink(std::filesystem::path path);
  ~PartSink() override;

  arrow::Status Write(const void* data, int64_t size_bytes) override;
  using OutputStream::Write;
  arrow::Result<int64_t> Tell() const override { return position_; }
  // commit() and the destructor close the file; to Parquet it is never closed.
  arrow::Status Close() override { return arrow::Status::OK(); }
  bool closed() const override { return false; }

  // Flushes to disk and renames into place. Throws: Error(Io).
  void commit();

  const std::filesystem::path& path() const { return path_; }
  int64_t size_bytes() const { return position_; }
  // Of all that was written. Pre: commit() has returned.
  std::string xxh3_128() const { return hash_.hex_digest(); }
  // errno of the write that failed; 0 if none did.
  int write_errno() const { return write_errno_; }

 private:
  bool write_through(const uint8_t* data, size_t size_bytes);
  bool flush_pending();

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  int64_t position_ = 0;
  int write_errno_ = 0;
  std::vector<uint8_t> pending_;  // small writes, gathered
  Xxh3_128 hash_;
};

}  // namespace arrow_quant
