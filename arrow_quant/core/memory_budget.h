// MemoryBudget: bytes that several runs share. Whoever needs memory to make progress at all waits
// for it with reserve(); whoever could use more asks with try_take(), and goes on without.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "arrow_quant/core/cancel.h"

namespace arrow_quant {

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Gives its bytes back at the end. The budget must outlive it.
  class Reservation {
   public:
    Reservation(MemoryBudget& budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
    ~Reservation() { budget_.give(bytes_); }
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;

   private:
    MemoryBudget& budget_;
    uint64_t bytes_;
  };

  uint64_t limit_bytes() const { return limit_bytes_; }

  // Takes `bytes` as soon as they are free. Pre: bytes ≤ limit_bytes(). cancel may be null.
  // Throws: Error(Cancelled).
  [[nodiscard]] Reservation reserve(uint64_t bytes, const CancelToken* cancel);

  // Takes `bytes` if they are free now.
  bool try_take(uint64_t bytes);
  void give(uint64_t bytes);

 private:
  const uint64_t limit_bytes_;
  std::mutex mutex_;
  std::condition_variable freed_;
  uint64_t used_bytes_ = 0;
};

}  // namespace arrow_quant
