#include "arrow_quant/pipeline/time_axis.h"

#include <gtest/gtest.h>

#include "arrow_quant/pipeline/time_grouping.h"

namespace arrow_quant {
namespace {

CalibrationInfo info_of(const std::string& kind, const std::string& schedule,
                        std::vector<TimeAxisStep> steps) {
  CalibrationInfo info;
  info.time_kind = kind;
  info.schedule = schedule;
  info.steps = std::move(steps);
  return info;
}

TEST(TimeAxis, NoiseLevelsAreThoseOfTheFileWhereItKnowsThem) {
  const CalibrationInfo info =
      info_of("timestep", "DDIMScheduler", {{900, -5}, {500, 0}, {100, 4}});
  const TimeAxis axis = time_axis_of(info, BetaSchedule::Cosine);
  EXPECT_EQ(axis.problem, "");
  EXPECT_EQ(axis.log_snr, (std::vector<double>{-5, 0, 4}));
  EXPECT_EQ(axis.schedule, "DDIMScheduler");
  EXPECT_EQ(axis.noise(), NoiseKind::Gaussian);
}

TEST(TimeAxis, AnAssumedScheduleIsReplacedByTheAskedOne) {
  for (const std::string schedule : {"", "assumed: linear betas over 1000 steps"}) {
    const CalibrationInfo info = info_of("timestep", schedule, {{900, 0}, {100, 0}});
    const TimeAxis linear = time_axis_of(info, BetaSchedule::Linear);
    const TimeAxis cosine = time_axis_of(info, BetaSchedule::Cosine);
    EXPECT_EQ(linear.log_snr[0], NoiseSchedule(BetaSchedule::Linear).log_snr(900));
    EXPECT_EQ(cosine.log_snr[1], NoiseSchedule(BetaSchedule::Cosine).log_snr(100));
    EXPECT_EQ(cosine.schedule, "assumed: cosine betas over 1000 steps");
  }
}

TEST(TimeAxis, MaskedTextHasTheLevelsOfItsFile) {
  const TimeAxis axis =
      time_axis_of(info_of("masked_fraction", "", {{0.9, -2}, {0.1, 2}}), BetaSchedule::Linear);
  EXPECT_EQ(axis.log_snr, (std::vector<double>{-2, 2}));
  EXPECT_EQ(axis.noise(), NoiseKind::Masking);
}

TEST(TimeAxis, StepsThatCannotBeGroupedSayWhy) {
  const struct {
    CalibrationInfo info;
    std::string part;
  } cases[] = {
      {info_of("none", "no time", {{0, 0}}), "a single step"},
      {info_of("timestep", "x", {{500, 0}}), "a single step"},
      {info_of("timestep", "x", {{500, 0}, {500, 1}}), "timesteps is out of order"},
      {info_of("timestep", "x", {{500, 1}, {100, 0}}), "log_snr is out of order"},
  };
  for (const auto& c : cases) {
    EXPECT_NE(time_axis_of(c.info, BetaSchedule::Linear).problem.find(c.part), std::string::npos)
        << c.part;
  }
}

TEST(TimeAxis, BoundariesLieInTheMiddleBetweenSteps) {
  const TimeAxis axis = time_axis_of(
      info_of("timestep", "x", {{900, -4}, {700, -2}, {400, 0}, {100, 3}}), BetaSchedule::Linear);
  const TimeGroups groups = time_groups_record(axis, std::vector<size_t>{0, 1, 3});
  EXPECT_EQ(groups.boundaries_timestep, (std::vector<double>{800, 250}));
  EXPECT_EQ(groups.boundaries_log_snr, (std::vector<double>{-3, 1.5}));
  EXPECT_EQ(time_groups_problem(groups), "");
  EXPECT_EQ(groups.group_of(400), 1u);
}

TEST(UsedTrajectories, AreTheFirstOnes) {
  CalibrationInfo info;
  info.trajectories = {3, 4, 10, 11};
  const auto uses = used_trajectories(info, 3);
  EXPECT_TRUE(uses(3) && uses(4) && uses(10));
  EXPECT_FALSE(uses(11));
  EXPECT_TRUE(used_trajectories(info, 128)(11));
}

}  // namespace
}  // namespace arrow_quant
