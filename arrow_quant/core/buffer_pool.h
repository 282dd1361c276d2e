// BufferPool: spare buffers, kept for the next of about their size. First touches of fresh memory
// cost more than quantizing into it. Not for several threads at once.
#pragma once

#include <cstddef>
#include <deque>

#include "arrow_quant/core/buffer.h"

namespace arrow_quant {

class BufferPool {
 public:
  // At most limit_bytes are kept; the oldest spare goes first.
  explicit BufferPool(size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // A buffer of size_bytes: a spare one that is at most an eighth larger, else a new one.
  // Throws: std::bad_alloc.
  Buffer take(size_t size_bytes);
  void give(Buffer buffer);

  size_t spare_bytes() const { return spare_bytes_; }

 private:
  size_t limit_bytes_;
  size_t spare_bytes_ = 0;
  std::deque<Buffer> spares_;
};

}  // namespace arrow_quant
