#include "arrow_quant/core/reuse.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>

#include "arrow_quant/core/buffer_pool.h"

namespace arrow_quant {
namespace {

// Smaller ones come from malloc's own reserves; these are whole pages, alone in them.
constexpr size_t kMinBytes = size_t{4} << 20;

size_t max_kept_bytes() {
  const size_t memory =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return std::min(size_t{512} << 20, memory / 16);
}

struct Kept {
  std::mutex mutex;
  BufferPool pool{max_kept_bytes()};
};

// Never destroyed: buffers are given back until the process ends.
Kept& kept() {
  static Kept* const all = new Kept;
  return *all;
}

}  // namespace

// Both only try to lock: a child of fork may find the mutex locked for good.

Buffer take_buffer(size_t size_bytes) {
  const std::unique_lock lock(kept().mutex, std::try_to_lock);
  return lock && size_bytes >= kMinBytes ? kept().pool.take(size_bytes) : Buffer(size_bytes);
}

void give_back(Buffer buffer) noexcept {
  const std::unique_lock lock(kept().mutex, std::try_to_lock);
  if (!lock || buffer.capacity_bytes() < kMinBytes) {
    return;
  }
  try {
    kept().pool.give(std::move(buffer));
  } catch (const std::bad_alloc&) {
    return;  // freed
  }
}

size_t kept_bytes() {
  const std::lock_guard lock(kept().mutex);
  return kept().pool.spare_bytes();
}

}  // namespace arrow_quant
