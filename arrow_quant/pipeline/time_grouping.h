// How a component's timesteps are grouped: once, before any of its layers is quantized, since all
// layers and all parts of the output share the groups.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/pipeline/activation_choice.h"
#include "arrow_quant/pipeline/calibration.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/pipeline/shared_resources.h"
#include "arrow_quant/pipeline/time_axis.h"

namespace arrow_quant {

// Which trajectories a run uses: the first `samples` of the calibration's.
std::function<bool(int32_t)> used_trajectories(const CalibrationInfo& info, int64_t samples);

// How activations are to be quantized; unset: not at all.
std::optional<ActivationScheme> activation_scheme(const DiffusionQuantConfig& config);

struct ComponentTime {
  TimeAxis axis;
  GroupBegins begins = {0};
  std::vector<double> couplings;             // of neighbouring groups
  std::vector<StepBlend> jumping, smoothed;  // of each step; see ActivationTime
  bool smooth = false;                       // activation parameters are interpolated
  std::optional<StepReport> smoothing;       // why: held-out errors, 1 per layer = what jumps cost
  std::optional<TimeGroups> record;          // where there is more than one group

  ActivationTime activations() const { return {begins, couplings, jumping, smoothed, smooth}; }
};

struct TimeGroupingContext {
  const DiffusionQuantConfig* config = nullptr;
  Calibration* calibration = nullptr;
  size_t num_threads = 1;
  SharedResources* shared = nullptr;    // may be null
  const CancelToken* cancel = nullptr;  // may be null
};

// Where activation parameters can differ between groups (static ranges, clip ratios), the groups
// that cost at most 64 layers with such parameters least (choose_time_groups), fewer layers where
// they are large; at 4 bits one group unless they save 7.5 %. Static ranges of 4 bits are weighed
// on rotated inputs where rotation is tried. Otherwise groups of about equal spans of log-SNR. With
// boundary smoothing on, activation parameters are interpolated where that lowers the layers'
// held-out errors by 0.5 % on average. One group if the time-aware mechanism is off, the mode is
// "base", or the calibration's steps cannot be grouped. Throws: what CalibrationFile::read throws,
// Error(Io), Error(Cancelled).
ComponentTime group_timesteps(const PlannedComponent& component,
                              const TimeGroupingContext& context);

}  // namespace arrow_quant
