// Progress: turns bytes of finished work into calls of the caller's callback.
//
// Fractions never fall and go from 0.0 to exactly 1.0. Work is counted by add(); message() tells of
// a tensor that is done: the first ones are all delivered, later calls at most 20 a second. Any
// thread may report; calls never overlap.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
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
  // Counts `bytes` of work as done, and reports with the last message if none came for 50 ms.
  // The fraction stays below 1.0.
  void add(uint64_t bytes);
  // Reports, unless the first messages are over and the last report is less than 50 ms ago.
  void message(std::string_view message);
  // Reports exactly 1.0.
  void finish(std::string_view message);

 private:
  using Clock = std::chrono::steady_clock;
  double fraction() const;
  void report(double fraction);

  std::mutex mutex_;
  ProgressCallback callback_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  int messages_ = 0;
  std::string last_message_;
  Clock::time_point last_call_{};
};

}  // namespace arrow_quant
