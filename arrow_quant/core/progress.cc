#include "arrow_quant/core/progress.h"

#include <algorithm>
#include <utility>

namespace arrow_quant {
namespace {

constexpr auto kMinInterval = std::chrono::milliseconds(50);
constexpr int kUnthrottledCalls = 8;
constexpr double kAlmostDone = 0.999;  // 1.0 is kept for finish()

}  // namespace

Progress::Progress(ProgressCallback callback, uint64_t total_bytes)
    : callback_(std::move(callback)), total_bytes_(total_bytes) {}

void Progress::start(std::string_view message) {
  std::lock_guard lock(mutex_);
  report(message, 0.0);
}

void Progress::add(uint64_t bytes, std::string_view message) {
  std::lock_guard lock(mutex_);
  done_bytes_ += bytes;
  if (calls_ >= kUnthrottledCalls && Clock::now() - last_call_ < kMinInterval) {
    return;
  }
  const double fraction =
      total_bytes_ == 0 ? 0.0
                        : static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_);
  report(message, std::min(fraction, kAlmostDone));
}

void Progress::finish(std::string_view message) {
  std::lock_guard lock(mutex_);
  report(message, 1.0);
}

void Progress::report(std::string_view message, double fraction) {
  ++calls_;
  last_call_ = Clock::now();
  if (callback_) {
    callback_(message, fraction);
  }
}

}  // namespace arrow_quant
