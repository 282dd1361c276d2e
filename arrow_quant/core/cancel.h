// CancelToken: how a caller asks running work to stop. Work looks at it between small pieces.
#pragma once

#include <atomic>

#include "arrow_quant/core/error.h"

namespace arrow_quant {

class CancelToken {
 public:
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // Throws: Error(Cancelled) once cancel() was called.
  void check() const {
    if (cancelled()) {
      throw Error(ErrorCode::Cancelled, "cancelled");
    }
  }

 private:
  std::atomic<bool> cancelled_{false};
};

// Throws: Error(Cancelled) once there is a token and it is cancelled.
inline void check_cancelled(const CancelToken* cancel) {
  if (cancel != nullptr) {
    cancel->check();
  }
}

}  // namespace arrow_quant
