// InputReader: shows one thread the bytes of files, range after range. They are the page cache's
// own, without a copy, where the file is mapped; else a copy in memory of the reader's.
//
// Pages are fetched before they are shown, where a failure is an error, and let go a few MiB later,
// so that resident memory does not follow the file's size. Only a file that another program
// truncates while a range of it is in use ends the process with a signal.
#pragma once

#include <cstdint>
#include <span>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/io/input_file.h"

namespace arrow_quant {

class InputReader {
 public:
  // As many bytes of mapped pages stay resident until the reader goes on, beside a range that is
  // larger by itself. Taking pages from a process disturbs all of its threads, so not each range
  // lets go of its own.
  static constexpr uint64_t kResidentBytes = uint64_t{4} << 20;

  InputReader() = default;
  ~InputReader() { let_go(); }
  InputReader(const InputReader&) = delete;
  InputReader& operator=(const InputReader&) = delete;

  // The bytes [offset, offset + size_bytes) of `file`, until the next call. They begin at a
  // multiple of `alignment`, a power of two. Files outlive the reader. Throws: Error(Io) on failure
  // or if the file ends before.
  std::span<const uint8_t> read(const InputFile& file, uint64_t offset, uint64_t size_bytes,
                                size_t alignment);

 private:
  bool fetch(const InputFile& file, uint64_t offset, uint64_t size_bytes);
  void let_go();

  Buffer copy_;
  // Mapped pages that may be resident: [begin, end) of `mapped_`.
  uint8_t* mapped_ = nullptr;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

}  // namespace arrow_quant
