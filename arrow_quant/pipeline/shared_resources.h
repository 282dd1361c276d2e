// SharedResources: what runs that go on at the same time have in common: so many threads at work,
// so many bytes of blocks. A run without them has its own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <semaphore>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/core/memory_budget.h"

namespace arrow_quant {

class SharedResources {
 public:
  // num_threads ≥ 1.
  SharedResources(size_t num_threads, uint64_t memory_limit_bytes)
      : num_threads_(num_threads),
        slots_(static_cast<std::ptrdiff_t>(num_threads)),
        memory_(memory_limit_bytes) {}

  size_t num_threads() const { return num_threads_; }
  MemoryBudget& memory() { return memory_; }

  // The right to compute, for the life of the object.
  class Turn {
   public:
    // Waits until fewer than num_threads() threads are at work. shared: null means no waiting;
    // cancel may be null. Throws: Error(Cancelled).
    Turn(SharedResources* shared, const CancelToken* cancel) : shared_(shared) {
      while (shared_ != nullptr && !shared_->slots_.try_acquire_for(kCancelInterval)) {
        check_cancelled(cancel);
      }
    }
    ~Turn() {
      if (shared_ != nullptr) {
        shared_->slots_.release();
      }
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    static constexpr std::chrono::milliseconds kCancelInterval{20};
    SharedResources* shared_;
  };

 private:
  size_t num_threads_;
  std::counting_semaphore<> slots_;
  MemoryBudget memory_;
};

}  // namespace arrow_quant
