#include "arrow_quant/core/progress.h"

#include <algorithm>
#include <utility>

namespace arrow_quant {
namespace {

constexpr auto kMinInterval = std::chrono::milliseconds(50);
constexpr int kUnthrottledMessages = 8;
constexpr double kAlmostDone = 0.999;  // 1.0 is kept for finish()

}  // namespace

Progress::Progress(ProgressCallback callback, uint64_t total_bytes)
    : callback_(std::move(callback)), total_bytes_(total_bytes) {}

void Progress::start(std::string_view message) {
  std::lock_guard lock(mutex_);
  last_message_ = message;
  report(0.0);
}

void Progress::add(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  done_bytes_ += bytes;
  if (Clock::now() - last_call_ >= kMinInterval) {
    report(fraction());
  }
}

void Progress::message(std::string_view message) {
  std::lock_guard lock(mutex_);
  last_message_ = message;
  if (++messages_ <= kUnthrottledMessages || Clock::now() - last_call_ >= kMinInterval) {
    report(fraction());
  }
}

void Progress::finish(std::string_view message) {
  std::lock_guard lock(mutex_);
  last_message_ = message;
  report(1.0);
}

double Progress::fraction() const {
  if (total_bytes_ == 0) {
    return 0.0;
  }
  const double done = static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_);
  return std::min(done, kAlmostDone);
}

void Progress::report(double fraction) {
  last_call_ = Clock::now();
  if (callback_) {
    callback_(last_message_, fraction);
  }
}

}  // namespace arrow_quant
