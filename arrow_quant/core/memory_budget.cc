#include "arrow_quant/core/memory_budget.h"

#include <chrono>

namespace arrow_quant {
namespace {

// How long a cancellation may wait before it is seen.
constexpr std::chrono::milliseconds kCancelInterval{20};

}  // namespace

MemoryBudget::Reservation MemoryBudget::reserve(uint64_t bytes, const CancelToken* cancel) {
  std::unique_lock lock(mutex_);
  while (bytes > limit_bytes_ - used_bytes_) {
    check_cancelled(cancel);
    freed_.wait_for(lock, kCancelInterval);
  }
  used_bytes_ += bytes;
  return Reservation(*this, bytes);
}

bool MemoryBudget::try_take(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (bytes > limit_bytes_ - used_bytes_) {
    return false;
  }
  used_bytes_ += bytes;
  return true;
}

void MemoryBudget::give(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    used_bytes_ -= bytes;
  }
  freed_.notify_all();
}

}  // namespace arrow_quant
