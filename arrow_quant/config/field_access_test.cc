#include "arrow_quant/config/field_access.h"

#include <gtest/gtest.h>

namespace arrow_quant {
namespace {

constexpr double kWidths[] = {2, 4, 8};
const FieldInfo kField{.name = "widths", .doc = "", .one_of = kWidths};

std::string problem_of(const NamedInts& map) {
  try {
    check(kField, map);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(FieldAccess, NamesWithNumbersAreAKindOfTheirOwn) {
  static_assert(kind_of<NamedInts>() == OptionKind::IntMap);
  NamedInts map;
  EXPECT_TRUE(assign(ConfigValue(NamedInts{{"b", 4}, {"a", 8}}), map));
  EXPECT_EQ(value_of(map), ConfigValue(NamedInts{{"b", 4}, {"a", 8}}));
  EXPECT_FALSE(assign(ConfigValue(std::vector<std::string>{"b=4"}), map));
  EXPECT_TRUE(assign(ConfigValue(), map));
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(needed_text<NamedInts>(kField),
            "a mapping from names to integers is needed, such as {\"name\": 8}");
}

TEST(FieldAccess, EachNumberOfAMapIsHeldAgainstWhatIsAllowed) {
  EXPECT_EQ(problem_of({}), "");
  EXPECT_EQ(problem_of({{"a", 2}, {"b", 8}}), "");
  EXPECT_EQ(problem_of({{"a", 2}, {"b", 3}}), "widths = {\"b\": 3}: allowed are 2, 4, 8");
  EXPECT_EQ(problem_of({{"", 2}}), "widths = {\"\": 2}: a name must not be empty");
}

}  // namespace
}  // namespace arrow_quant
