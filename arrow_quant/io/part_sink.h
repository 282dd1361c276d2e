// PartSink: the AtomicFile that a part is written into, as an Arrow output stream. The file's hash
// is taken in the pass that writes.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <arrow/io/interfaces.h>
#include <arrow/result.h>

#include "arrow_quant/core/atomic_file.h"
#include "arrow_quant/io/hash.h"

namespace arrow_quant {

class PartSink final : public arrow::io::OutputStream {
 public:
  // path: the final name. cancel: as in AtomicFile. Throws: Error(Io).
  explicit PartSink(std::filesystem::path path, const CancelToken* cancel = nullptr);

  arrow::Status Write(const void* data, int64_t size_bytes) override;
  using OutputStream::Write;
  arrow::Result<int64_t> Tell() const override { return size_bytes(); }
  // commit() closes the file; to Parquet it is never closed.
  arrow::Status Close() override { return arrow::Status::OK(); }
  bool closed() const override { return false; }

  // Flushes to disk and renames into place. Throws: Error(Io), Error(Cancelled).
  void commit();

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t size_bytes() const { return static_cast<int64_t>(file_.size_bytes() + pending_.size()); }
  // Of all that was written. Pre: commit() has returned.
  std::string xxh3_128() const { return hash_.hex_digest(); }
  // What the write that failed threw; null if none did.
  const std::exception_ptr& failure() const { return failure_; }

 private:
  void write_through(std::span<const uint8_t> bytes);
  void flush_pending();

  AtomicFile file_;
  std::exception_ptr failure_;
  std::vector<uint8_t> pending_;  // small writes, gathered
  Xxh3_128 hash_;
};

}  // namespace arrow_quant
