#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace arrow_quant::cli {
namespace {

TEST(TableTest, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({{"name"}, {"size", Align::Right}, {"reason"}});
  table.add_row({"a.weight", "7", "norm"});
  table.add_row({"é", "1234567", ""});
  EXPECT_EQ(table.text(),
            "name         size  reason\n"
            "--------  -------  ------\n"
            "a.weight        7  norm\n"
            "é         1234567\n");
}

TEST(TableTest, ATableWithoutRowsHasItsTitles) {
  EXPECT_EQ(Table({{"a"}, {"b"}}).text(), "a  b\n-  -\n");
}

TEST(TableTest, WhatWouldSteerATerminalIsReplaced) {
  EXPECT_EQ(printable("a\x1b[31m\n\t\x7f\xC2\x9B z é →"), "a?[31m???? z é →");
}

TEST(TableTest, SizesHaveThreeDigitsAndAUnit) {
  const std::vector<std::pair<double, std::string>> cases = {
      {0, "0 B"},          {999, "999 B"},      {1000, "1.00 kB"},    {17408, "17.4 kB"},
      {999400, "999 kB"},  {999500, "1.00 MB"}, {9.994e6, "9.99 MB"}, {9.996e6, "10.0 MB"},
      {9.996e7, "100 MB"}, {3.21e9, "3.21 GB"}, {5e15, "5000 TB"},
  };
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(size_text(bytes), text) << bytes;
  }
}

TEST(TableTest, DurationsGrowFromSecondsToHours) {
  const std::vector<std::pair<double, std::string>> cases = {
      {0, "0.00 s"}, {0.254, "0.25 s"}, {12.34, "12.3 s"},   {59.99, "60.0 s"},
      {60, "1:00"},  {65.4, "1:05"},    {3599.6, "1:00:00"}, {7384, "2:03:04"},
  };
  for (const auto& [seconds, text] : cases) {
    EXPECT_EQ(duration_text(seconds), text) << seconds;
  }
}

TEST(TableTest, NumbersWithoutEndAndWhatIsNoneAreWritten) {
  EXPECT_EQ(fixed(std::numeric_limits<double>::quiet_NaN(), 2), "nan");
  EXPECT_EQ(fixed(-std::numeric_limits<double>::quiet_NaN(), 2), "nan");
  EXPECT_EQ(fixed(std::numeric_limits<double>::infinity(), 2), "inf");
  EXPECT_EQ(fixed(std::numeric_limits<double>::max(), 2).size(), 309u + 3u);
}

}  // namespace
}  // namespace arrow_quant::cli
