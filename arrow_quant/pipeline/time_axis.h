// TimeAxis: the steps of a calibration as groups of timesteps need them, and the record of groups
// that goes into the model's files.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/diffusion/boundary_smoothing.h"
#include "arrow_quant/diffusion/noise_schedule.h"
#include "arrow_quant/io/calibration_file.h"
#include "arrow_quant/io/time_groups.h"

namespace arrow_quant {

struct TimeAxis {
  std::string kind;                        // "timestep", "masked_fraction"
  std::string schedule;                    // words: where log-SNR came from
  std::vector<double> timesteps, log_snr;  // of each step, from the noisiest to the cleanest
  std::string problem;  // why its steps cannot be grouped, in words; "" if they can

  size_t steps() const { return timesteps.size(); }
  NoiseKind noise() const {
    return kind == "masked_fraction" ? NoiseKind::Masking : NoiseKind::Gaussian;
  }
};

// The axis of a calibration. Where it only assumes a schedule, log-SNR is that of `schedule`.
TimeAxis time_axis_of(const CalibrationInfo& info, BetaSchedule schedule);

// begins: the first step of each group. Boundaries lie in the middle between the steps on both
// sides. Interpolation is left empty.
TimeGroups time_groups_record(const TimeAxis& axis, std::span<const size_t> begins);

}  // namespace arrow_quant
