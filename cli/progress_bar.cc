#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "cli/table.h"

namespace arrow_quant::cli {
namespace {

constexpr auto kSpeedWindow = std::chrono::seconds(10);
constexpr auto kLineInterval = std::chrono::seconds(5);
constexpr double kLineStep = 0.01;  // a line must also tell of some advance
constexpr size_t kBarCells = 24;
constexpr double kMinSpeedSeconds = 0.2;

double seconds_between(ProgressBar::Clock::time_point from, ProgressBar::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

size_t terminal_columns(std::FILE* stream) {
  winsize size{};
  const bool known = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

// The first `columns` characters of UTF-8 text.
std::string cut(const std::string& text, size_t columns) {
  std::string result;
  size_t used = 0;
  for (const char c : text) {
    used += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
    if (used > columns) {
      break;
    }
    result += c;
  }
  return result;
}

std::string percent_text(double fraction) {
  // 100 is for what is finished.
  return std::to_string(static_cast<int>(std::floor(fraction * 100))) + "%";
}

}  // namespace

ProgressBar::Style ProgressBar::style_for(std::FILE* stream) {
  const char* const term = std::getenv("TERM");
  const bool can_redraw = term != nullptr && std::string_view(term) != "dumb";
  return isatty(fileno(stream)) != 0 && can_redraw ? Style::Bar : Style::Lines;
}

void ProgressBar::update(std::string_view message, double fraction, Clock::time_point now) {
  if (style_ == Style::None) {
    return;
  }
  fraction = std::clamp(fraction, 0.0, 1.0);
  add_sample(fraction, now);
  if (style_ == Style::Bar) {
    draw_bar(printable(message), fraction);
  } else {
    print_line(printable(message), fraction, now);
  }
}

void ProgressBar::clear() {
  if (drawn_) {
    std::fputs("\r\x1b[K", stream_);
    std::fflush(stream_);
    drawn_ = false;
  }
}

void ProgressBar::add_sample(double fraction, Clock::time_point now) {
  samples_.push_back({now, fraction});
  while (samples_.size() > 2 && now - samples_[1].time > kSpeedWindow) {
    samples_.pop_front();
  }
}

std::string ProgressBar::speed_text() const {
  const Sample& first = samples_.front();
  const Sample& last = samples_.back();
  const double seconds = seconds_between(first.time, last.time);
  const double advance = last.fraction - first.fraction;
  if (seconds < kMinSpeedSeconds || advance <= 0) {
    return "";
  }
  const double rate = advance / seconds;
  std::string text;
  if (total_bytes_ > 0) {
    const double megabytes = rate * static_cast<double>(total_bytes_) / 1e6;
    text = fixed(megabytes, megabytes < 10 ? 1 : 0) + " MB/s  ";
  }
  const double left = std::round((1 - last.fraction) / rate);
  return text + (left < 60 ? fixed(left, 0) + " s" : duration_text(left)) + " left";
}

void ProgressBar::draw_bar(const std::string& message, double fraction) {
  const auto full = static_cast<size_t>(fraction * kBarCells);
  const std::string percent = percent_text(fraction);
  std::string line = "[" + std::string(full, '#') + std::string(kBarCells - full, '-') + "] " +
                     std::string(4 - percent.size(), ' ') + percent;
  if (const std::string speed = speed_text(); !speed.empty()) {
    line += "  " + speed;
  }
  line += "  " + message;
  // One column is left free: a full line would wrap on some terminals.
  line = "\r" + cut(line, terminal_columns(stream_) - 1) + "\x1b[K";
  std::fputs(line.c_str(), stream_);
  std::fflush(stream_);
  drawn_ = true;
}

void ProgressBar::print_line(const std::string& message, double fraction, Clock::time_point now) {
  const bool first = last_line_fraction_ < 0;
  const bool last = fraction == 1.0 && last_line_fraction_ < 1.0;
  const bool due = now - last_line_ >= kLineInterval && fraction - last_line_fraction_ >= kLineStep;
  if (!first && !last && !due) {
    return;
  }
  last_line_ = now;
  last_line_fraction_ = fraction;
  std::string line = percent_text(fraction) + "  ";
  if (const std::string speed = last ? "" : speed_text(); !speed.empty()) {
    line += speed + "  ";
  }
  std::fputs((line + message + "\n").c_str(), stream_);
  std::fflush(stream_);
}

}  // namespace arrow_quant::cli
