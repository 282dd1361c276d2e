#include "arrow_quant/pipeline/layer_activation.h"

#include <algorithm>
#include <vector>

#include "arrow_quant/pipeline/layer_sketch.h"

namespace arrow_quant {
namespace {

// What all inputs of each step lie between, 0 included; empty where sums are missing, or hold
// trajectories that are not used.
std::vector<ValueRange> step_ranges(const LayerCalibration& data, const CalibrationInfo& info,
                                    const DiffusionQuantConfig& config) {
  if (info.trajectories.size() > static_cast<size_t>(config.calibration_samples)) return {};
  std::vector<ValueRange> ranges(info.steps.size());
  for (const StepSums& step : data.steps) {
    if (step.min.empty() || step.max.empty()) return {};
    ValueRange& range = ranges[static_cast<size_t>(step.step)];
    range.lo = std::min(0.0f, *std::min_element(step.min.begin(), step.min.end()));
    range.hi = std::max(0.0f, *std::max_element(step.max.begin(), step.max.end()));
  }
  return ranges;
}

}  // namespace

std::optional<ActivationChoice> choose_layer_activation(const PlannedTensor& tensor,
                                                        const InputTransform* transform,
                                                        const DiffusionQuantConfig& config,
                                                        const ActivationSource& source) {
  static const ThermodynamicConfig kNoPhases;
  const CalibrationInfo& info = source.calibration->info();
  LayerCalibration data =
      source.calibration->read_rows(source.calibration->data_of(tensor.info->name));
  const auto cols = static_cast<size_t>(data.cols);
  const bool transformed = transform != nullptr && !transform->identity();
  if (transformed) {
    transform_inputs(*transform, data.rows.x.data(), data.rows.count(), cols);
  }
  const auto uses = used_trajectories(info, config.calibration_samples);
  const auto rows_of = [&](bool held_out) {
    const auto picks = [&](int32_t trajectory) {
      return uses(trajectory) && info.held_out(trajectory) == held_out;
    };
    return ActivationRows(data.rows, cols, info.steps.size(), {picks});
  };
  const ActivationRows calibrating = rows_of(false), held_out = rows_of(true);
  if (calibrating.count() == 0) return std::nullopt;
  const std::vector<ValueRange> ranges =
      transformed ? std::vector<ValueRange>() : step_ranges(data, info, config);
  data = {};
  const WeightSketch sketch = sketch_of(
      tensor, source.component->source->shards[tensor.shard].file(),
      [&](std::span<float> row) {
        if (transformed) transform_weights(*transform, row.data(), 1, row.size());
      },
      source.cancel);
  ActivationTask task;
  task.scheme = *activation_scheme(config);
  task.may_clip =
      config.enable_activation_clipping && (!transformed || transform->hadamard_block == 0);
  task.calibrating = &calibrating;
  task.held_out = &held_out;
  task.sketch = &sketch;
  task.step_ranges = ranges;
  task.time = source.time->activations();
  task.phases = config.mode == QuantMode::Base ? &kNoPhases : &config.thermodynamic;
  return choose_activation(task);
}

}  // namespace arrow_quant
