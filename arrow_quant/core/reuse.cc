#include "arrow_quant/core/reuse.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace arrow_quant {
namespace {

// Smaller ones come from malloc's own reserves; these are whole pages, alone in them.
constexpr size_t kMinBytes = size_t{4} << 20;

size_t max_kept_bytes() {
  static const size_t memory =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return std::min(size_t{512} << 20, memory / 16);
}

struct Kept {
  std::mutex mutex;
  std::vector<Buffer> buffers;
  size_t size_bytes = 0;
};

// Never destroyed: buffers are given back until the process ends.
Kept& kept() {
  static Kept* const all = new Kept;
  return *all;
}

bool is_close(size_t found, size_t asked) {
  return found >= asked && found - asked <= asked / 8;
}

}  // namespace

// Both only try to lock: a child of fork may find the mutex locked for good.

Buffer take_buffer(size_t size_bytes) {
  Kept& all = kept();
  if (const std::unique_lock lock(all.mutex, std::try_to_lock); lock && size_bytes >= kMinBytes) {
    for (Buffer& buffer : all.buffers) {
      if (is_close(buffer.size_bytes(), size_bytes)) {
        std::swap(buffer, all.buffers.back());
        Buffer taken = std::move(all.buffers.back());
        all.buffers.pop_back();
        all.size_bytes -= taken.size_bytes();
        return taken;
      }
    }
  }
  return Buffer(size_bytes);
}

void give_back(Buffer buffer) noexcept {
  Kept& all = kept();
  const size_t size_bytes = buffer.size_bytes();
  const std::unique_lock lock(all.mutex, std::try_to_lock);
  if (!lock || size_bytes < kMinBytes || all.size_bytes + size_bytes > max_kept_bytes()) {
    return;
  }
  try {
    all.buffers.push_back(std::move(buffer));
    all.size_bytes += size_bytes;
  } catch (const std::bad_alloc&) {
    return;  // freed
  }
}

size_t kept_bytes() {
  const std::lock_guard lock(kept().mutex);
  return kept().size_bytes;
}

}  // namespace arrow_quant
