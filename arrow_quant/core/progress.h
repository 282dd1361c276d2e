// Progress: turns bytes of finished work into calls of the caller's callback.
//
// Fractions never fall and go from 0.0 to exactly 1.0. The first messages are all delivered, later
// ones at most 20 a second. Any thread may report; calls never overlap.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>

namespace arrow_quant {

// fraction: 0.0 … 1.0. What it throws stops the run and reaches the caller unchanged.
using ProgressCallback = std::function<void(std::string_view message, double fraction)>;

class Progress {
 public:
  // callback may be empty. total_bytes: the work that add() will report in all.
  Progress(ProgressCallback callback, uint64_t total_bytes);

  // Reports 0.0.
  void start(std::string_view message);
  // Counts `bytes` of work as done and reports, unless the last report was less than 50 ms ago and
  // the first reports are over. Stays below 1.0.
  void add(uint64_t bytes, std::string_view message);
  // Reports exactly 1.0.
  void finish(std::string_view message);

 private:
  using Clock = std::chrono::steady_clock;
  void report(std::string_view message, double fraction);

  std::mutex mutex_;
  ProgressCallback callback_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  int calls_ = 0;
  Clock::time_point last_call_{};
};

}  // namespace arrow_quant
