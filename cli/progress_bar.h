// ProgressBar: shows how far a run is. On a terminal one line is drawn over and over; elsewhere
// (logs, pipes) now and then a line is added.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <string_view>

namespace arrow_quant::cli {

class ProgressBar {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Style { None, Lines, Bar };

  // Bar where `stream` is a terminal that can redraw a line, else Lines.
  static Style style_for(std::FILE* stream);

  // total_bytes: what fraction 1 stands for; 0 if not known (then no speed is shown).
  ProgressBar(std::FILE* stream, Style style, int64_t total_bytes)
      : stream_(stream), style_(style), total_bytes_(total_bytes) {}
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Shows a state. Calls must not overlap. `now` never falls.
  void update(std::string_view message, double fraction, Clock::time_point now = Clock::now());
  // Removes the bar, so that other text can follow; lines stay.
  void clear();

 private:
  struct Sample {
    Clock::time_point time;
    double fraction;
  };
  void add_sample(double fraction, Clock::time_point now);
  // "312 MB/s  0:12 left"; "" while it cannot be told.
  std::string speed_text() const;
  void draw_bar(const std::string& message, double fraction);
  void print_line(const std::string& message, double fraction, Clock::time_point now);

  std::FILE* stream_;
  Style style_;
  int64_t total_bytes_;
  std::deque<Sample> samples_;  // of the last seconds, for the speed
  Clock::time_point last_line_{};
  double last_line_fraction_ = -1;
  bool drawn_ = false;
};

}  // namespace arrow_quant::cli
