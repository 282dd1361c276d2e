#include "arrow_quant/pipeline/time_axis.h"

#include <cmath>
#include <numeric>

namespace arrow_quant {
namespace {

// What the collector writes where nothing told it the noise of a timestep.
constexpr const char* kAssumed = "assumed";

void assume(TimeAxis& axis, BetaSchedule schedule) {
  const NoiseSchedule levels(schedule);
  for (size_t t = 0; t < axis.steps(); ++t) {
    axis.log_snr[t] = levels.log_snr(axis.timesteps[t]);
  }
  axis.schedule = "assumed: " + std::string(to_string(schedule)) + " betas over " +
                  std::to_string(levels.steps()) + " steps";
}

}  // namespace

TimeAxis time_axis_of(const CalibrationInfo& info, BetaSchedule schedule) {
  TimeAxis axis;
  axis.kind = info.time_kind;
  axis.schedule = info.schedule;
  for (const TimeAxisStep& step : info.steps) {
    axis.timesteps.push_back(step.timestep);
    axis.log_snr.push_back(step.log_snr);
  }
  if (axis.kind == "none" || axis.steps() < 2) {
    axis.problem = "the calibration data have a single step";
    return axis;
  }
  if (axis.kind == "timestep" && (axis.schedule.empty() || axis.schedule.starts_with(kAssumed))) {
    assume(axis, schedule);
  }
  // What must hold of all steps, boundaries or not.
  if (const std::string problem = time_groups_problem(time_groups_record(axis, {}));
      !problem.empty()) {
    axis.problem = "the calibration data's " + problem;
  }
  return axis;
}

TimeGroups time_groups_record(const TimeAxis& axis, std::span<const size_t> begins) {
  TimeGroups groups;
  groups.kind = axis.kind;
  groups.schedule = axis.schedule;
  groups.timesteps = axis.timesteps;
  groups.log_snr = axis.log_snr;
  for (size_t g = 1; g < begins.size(); ++g) {
    const size_t t = begins[g];
    groups.boundaries_timestep.push_back(std::midpoint(axis.timesteps[t - 1], axis.timesteps[t]));
    groups.boundaries_log_snr.push_back(std::midpoint(axis.log_snr[t - 1], axis.log_snr[t]));
  }
  return groups;
}

}  // namespace arrow_quant
