#include "arrow_quant/core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace arrow_quant {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Log, GoesToTheSinkThatIsSetAndNowhereElse) {
  std::vector<std::pair<LogLevel, std::string>> first, second;
  log(LogLevel::Warning, "before any sink");
  set_log_sink([&](LogLevel level, std::string_view text) { first.emplace_back(level, text); });
  log(LogLevel::Info, "one");
  set_log_sink([&](LogLevel level, std::string_view text) { second.emplace_back(level, text); });
  log(LogLevel::Debug, "two");
  set_log_sink({});
  log(LogLevel::Warning, "after all sinks");
  EXPECT_THAT(first, ElementsAre(Pair(LogLevel::Info, "one")));
  EXPECT_THAT(second, ElementsAre(Pair(LogLevel::Debug, "two")));
}

TEST(Log, ASinkMayLogAndReplaceItself) {
  std::vector<std::string> seen;
  set_log_sink([&](LogLevel, std::string_view text) {
    seen.emplace_back(text);
    if (text == "outer") {
      set_log_sink({});
      log(LogLevel::Info, "inner");
    }
  });
  log(LogLevel::Info, "outer");
  EXPECT_THAT(seen, ElementsAre("outer"));
}

}  // namespace
}  // namespace arrow_quant
