#include "arrow_quant/io/time_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "arrow_quant/io/part_test_util.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TimeGroups falling() {
  return {"timestep",
          "linear betas",
          {900, 700, 500, 300, 100},
          {-5, -3, -1, 1, 3},
          {800, 400},
          {-4, 0},
          "linear",
          3};
}

TimeGroups rising() {
  return {"masked_fraction", "masked", {0, 0.25, 0.5, 1}, {-3, -1, 0, 2}, {0.3}, {-0.5}, "", 0};
}

TEST(TimeGroups, ATimestepBelongsToTheGroupBetweenItsBoundaries) {
  const struct {
    TimeGroups groups;
    double timestep;
    size_t group;
  } cases[] = {
      {falling(), 1e6, 0}, {falling(), 801, 0},  {falling(), 800, 0}, {falling(), 799.5, 1},
      {falling(), 400, 1}, {falling(), 399, 2},  {falling(), -1, 2},  {rising(), -1, 0},
      {rising(), 0.3, 0},  {rising(), 0.301, 1}, {rising(), 1, 1},    {{}, 17, 0},
  };
  for (const auto& [groups, timestep, group] : cases) {
    EXPECT_EQ(groups.group_of(timestep), group) << timestep;
    EXPECT_LT(group, groups.size());
  }
}

TEST(TimeGroups, ComeBackFromTheirText) {
  TimeGroups one = falling();
  one.boundaries_timestep.clear();
  one.boundaries_log_snr.clear();
  for (const TimeGroups& groups : {falling(), rising(), one}) {
    EXPECT_EQ(time_groups_problem(groups), "");
    EXPECT_EQ(parse_time_groups(to_json(groups), "x"), groups);
  }
}

TEST(TimeGroups, ThatBreakTheRulesAreToldByName) {
  const struct {
    const char* problem;
    std::function<void(TimeGroups&)> change;
  } cases[] = {
      {"kind is \"sigma\"", [](TimeGroups& g) { g.kind = "sigma"; }},
      {"boundaries_log_snr is 1 values long, expected 2",
       [](TimeGroups& g) { g.boundaries_log_snr.pop_back(); }},
      {"log_snr is 4 values long, expected 5", [](TimeGroups& g) { g.log_snr.pop_back(); }},
      {"makes 3 groups",
       [](TimeGroups& g) {
         g.timesteps = {900, 700};
       }},
      {"timesteps is out of order", [](TimeGroups& g) { g.timesteps[1] = 900; }},
      {"timesteps is out of order", [](TimeGroups& g) { g.timesteps[1] = NAN; }},
      {"boundaries_timestep is out of order",
       [](TimeGroups& g) {
         g.boundaries_timestep = {400, 800};
       }},
      {"log_snr is out of order", [](TimeGroups& g) { g.log_snr[0] = -INFINITY; }},
      {"boundaries_log_snr is out of order",
       [](TimeGroups& g) {
         g.boundaries_log_snr = {0, -4};
       }},
      {"interpolation is \"spline\"", [](TimeGroups& g) { g.interpolation = "spline"; }},
      {"window is -1", [](TimeGroups& g) { g.window = -1; }},
  };
  for (const auto& [problem, change] : cases) {
    TimeGroups groups = falling();
    change(groups);
    EXPECT_THAT(time_groups_problem(groups), HasSubstr(problem));
  }
}

TEST(TimeGroups, TextThatIsNoGroupsIsAnError) {
  const std::string text = to_json(falling());
  for (const std::string& broken :
       {std::string("{"), std::string("[]"), std::string("{}"), text.substr(1)}) {
    EXPECT_THAT(error_of([&] { parse_time_groups(broken, "a.parquet"); }),
                AllOf(HasSubstr("Metadata"), HasSubstr("a.parquet")));
  }
  TimeGroups groups = falling();
  groups.window = -1;
  EXPECT_THAT(error_of([&] { parse_time_groups(to_json(groups), "a.parquet"); }),
              AllOf(HasSubstr("Metadata"), HasSubstr("window is -1")));
}

}  // namespace
}  // namespace arrow_quant
