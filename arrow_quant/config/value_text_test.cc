#include "arrow_quant/config/value_text.h"

#include <gtest/gtest.h>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

TEST(ValueTextTest, NumbersAreTheShortestThatReadBack) {
  const std::vector<std::pair<double, std::string>> cases = {
      {3, "3"},        {2.5, "2.5"},         {1e-4, "0.0001"}, {1e-5, "1e-05"},
      {0.1, "0.1"},    {1048576, "1048576"}, {0, "0"},         {1e15, "1000000000000000"},
      {1e16, "1e+16"}, {-0.25, "-0.25"},
  };
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(number_text(value), text);
  }
}

TEST(ValueTextTest, ValuesAreShownAsTheyAreWritten) {
  const std::vector<std::pair<ConfigValue, std::string>> cases = {
      {{}, "null"},
      {true, "true"},
      {int64_t{-4}, "-4"},
      {4.0, "4.0"},
      {1e-5, "1.0e-05"},
      {std::string("a"), "\"a\""},
      {std::vector<std::string>{"a", "b"}, "[\"a\", \"b\"]"},
      {NamedInts{{"re:^a", 4}, {"b", 8}}, "{\"re:^a\": 4, \"b\": 8}"},
      {NamedInts(), "{}"},
  };
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(value_text(value), text);
    EXPECT_EQ(yaml_text(value), text);
  }
}

TEST(ValueTextTest, OnlyMessagesAreCut) {
  const std::vector<std::string> many(9, "x");
  EXPECT_EQ(value_text(many), R"(["x", "x", "x", "x", "x", "x", "x", "x", …])");
  EXPECT_EQ(yaml_text(many), R"(["x", "x", "x", "x", "x", "x", "x", "x", "x"])");
}

TEST(ValueTextTest, TextThatIsNotUtf8CannotBecomeYaml) {
  for (const char* const text : {"\xFF", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80",
                                 "\xF5\x80\x80\x80", "\xE2\x82", "\x80"}) {
    EXPECT_THROW(yaml_text(std::string(text)), Error);
  }
}

TEST(ValueTextTest, AMapTakesOneTextForEachEntry) {
  FieldDoc field;
  field.kind = OptionKind::IntMap;
  EXPECT_EQ(parse_option_texts(field, {"re:a=b=4", "c=8"}),
            ConfigValue(NamedInts{{"re:a=b", 4}, {"c", 8}}));
  for (const char* const text : {"a", "a=", "a=x", "a=4.5", "=", ""}) {
    EXPECT_EQ(parse_option_texts(field, {text}), ConfigValue(std::vector<std::string>{text}));
  }
}

}  // namespace
}  // namespace arrow_quant
