#include "cli/progress_bar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace arrow_quant::cli {
namespace {

using namespace std::chrono_literals;

// What is written to a FILE*.
class Capture {
 public:
  std::FILE* stream() { return file_.get(); }
  std::string text() {
    std::fflush(stream());
    std::string all(static_cast<size_t>(std::ftell(stream())), '\0');
    std::rewind(stream());
    const size_t read = std::fread(all.data(), 1, all.size(), stream());
    EXPECT_EQ(read, all.size());
    return all;
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), std::fclose};
};

const ProgressBar::Clock::time_point kStart{1h};

TEST(ProgressBarTest, AFileIsNoTerminal) {
  Capture capture;
  EXPECT_EQ(ProgressBar::style_for(capture.stream()), ProgressBar::Style::Lines);
}

TEST(ProgressBarTest, LinesComeAtTheStartAtTheEndAndEveryFewSecondsOfAdvance) {
  Capture capture;
  {
    ProgressBar bar(capture.stream(), ProgressBar::Style::Lines, 0);
    bar.update("start", 0, kStart);
    bar.update("too soon", 0.3, kStart + 4s);
    bar.update("a", 0.5, kStart + 5s);
    bar.update("no advance", 0.505, kStart + 15s);
    bar.update("b", 0.75, kStart + 16s);
    bar.update("end", 1, kStart + 17s);
    bar.update("end again", 1, kStart + 30s);
  }
  EXPECT_EQ(capture.text(),
            "0%  start\n"
            "50%  5 s left  a\n"
            "75%  11 s left  b\n"  // (0.75 − 0.5) in 11 s: the speed is that of the last seconds
            "100%  end\n");
}

TEST(ProgressBarTest, SpeedFollowsFromTheSizeOfTheWhole) {
  Capture capture;
  {
    ProgressBar bar(capture.stream(), ProgressBar::Style::Lines, 4'000'000'000);
    bar.update("start", 0, kStart);
    bar.update("a", 0.5, kStart + 8s);
  }
  EXPECT_EQ(capture.text(), "0%  start\n50%  250 MB/s  8 s left  a\n");
}

TEST(ProgressBarTest, ABarIsRedrawnInPlaceAndRemoved) {
  Capture capture;
  {
    ProgressBar bar(capture.stream(), ProgressBar::Style::Bar, 0);
    bar.update("x", 0, kStart);
    bar.update("y", 0.5, kStart + 90s);
  }
  EXPECT_EQ(capture.text(),
            "\r[------------------------]   0%  x\x1b[K"
            "\r[############------------]  50%  1:30 left  y\x1b[K"
            "\r\x1b[K");
}

TEST(ProgressBarTest, ABarFitsInOneLineAndSteersNothing) {
  Capture capture;
  {
    ProgressBar bar(capture.stream(), ProgressBar::Style::Bar, 0);
    bar.update("\x1b" + std::string(200, 'n'), 0, kStart);
  }
  // A stream that is no terminal counts as 80 columns wide, of which one stays free.
  EXPECT_EQ(capture.text(),
            "\r[------------------------]   0%  ?" + std::string(45, 'n') + "\x1b[K\r\x1b[K");
}

TEST(ProgressBarTest, NoneShowsNothing) {
  Capture capture;
  {
    ProgressBar bar(capture.stream(), ProgressBar::Style::None, 0);
    bar.update("x", 0.5, kStart);
  }
  EXPECT_EQ(capture.text(), "");
}

}  // namespace
}  // namespace arrow_quant::cli
