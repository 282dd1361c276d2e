// AtomicFile: a file that appears under its name whole and on disk, or not at all.
//
// It is written under a temporary name in the same directory. commit() flushes it to disk, renames
// it into place and flushes the directory; without commit() the destructor removes it. The
// temporary name depends on the final one alone, so what a killed process left is overwritten by
// the next attempt. Two writers of one name at the same time are not supported.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "arrow_quant/core/cancel.h"

namespace arrow_quant {

class AtomicFile {
 public:
  // path: the final name; its directory exists. Throws: Error(Io).
  // cancel: looked at while flushing to disk; may be null, outlives the object.
  explicit AtomicFile(std::filesystem::path path, const CancelToken* cancel = nullptr);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // The name under which the file at `path` is written: ".NAME.tmp" beside it.
  static std::filesystem::path temporary_path(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  // Written so far.
  uint64_t size_bytes() const { return size_bytes_; }

  // Appends. Throws: Error(Io).
  void write(std::span<const uint8_t> bytes);
  void write(std::string_view text);

  // Says that so many bytes will be written next, which makes writing them faster.
  void expect(uint64_t size_bytes);

  // Replaces what stands under the name. At most once; nothing can be written afterwards.
  // Throws: Error(Io), Error(Cancelled).
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  const CancelToken* cancel_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
};

// Flushes the directory's entries to disk, so that files created, renamed or removed in it stay so.
// Throws: Error(Io).
void sync_directory(const std::filesystem::path& path);

// Seconds that this process has spent so far in flushing files and directories to disk.
double flush_seconds();

}  // namespace arrow_quant
