#include "arrow_quant/pipeline/time_grouping.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include "arrow_quant/core/threads.h"
#include "arrow_quant/diffusion/candidate_bank.h"
#include "arrow_quant/pipeline/activation_phases.h"
#include "arrow_quant/pipeline/layer_sketch.h"
#include "arrow_quant/quant/input_transform.h"

namespace arrow_quant {
namespace {

constexpr size_t kMostLayers = 64;
constexpr size_t kFewestLayers = 4;
constexpr size_t kRowsPerStep = 8;  // of calibrating, and of held-out trajectories
// Share of the held-out error that groups must save where parameters are searched, at 4 bits. What
// layers gain is not what their model gains: with static ranges the error of one whose layers
// gained 3 to 5 % on average rose by up to 9 %, that of others whose layers gained 9 to 20 % fell
// by 13 to 50 %.
constexpr double kLeastSaving = 0.075;
// Multiplications and additions that the layers may take together.
constexpr double kOperations = 1e11;

using Layers = std::vector<const PlannedTensor*>;

// Evenly chosen, in their order.
Layers some_of(const Layers& layers, size_t count) {
  Layers some;
  for (size_t i = 0; i < count; ++i) some.push_back(layers[i * layers.size() / count]);
  return some;
}

class Grouping {
 public:
  Grouping(const PlannedComponent& component, const TimeGroupingContext& context)
      : component_(component),
        context_(context),
        file_(context.calibration->file()),
        scheme_(activation_scheme(*context.config)),
        uses_(used_trajectories(file_.info(), context.config->calibration_samples)) {
    time_.axis = time_axis_of(file_.info(),
                              context.config->thermodynamic.transition_optimization.beta_schedule);
    for (const PlannedTensor& tensor : component.tensors) {
      if (!tensor.decision.bit_width || !context.calibration->covers(component, tensor)) continue;
      const CalibrationFile::Entry& data = file_.layers().at(file_.data_of(tensor.info->name));
      // Whose parameters are chosen by the groups; where none are, the groups correct biases.
      const bool concerned = !searches() || activation_bits_of(tensor, *context.config) != 0;
      if (concerned && data.calibrating_rows > 0 && data.held_out_rows > 0) {
        layers_.push_back(&tensor);
      }
    }
  }

  ComponentTime run() {
    const DiffusionQuantConfig& config = *context_.config;
    const bool grouped = config.enable_time_aware && config.mode == QuantMode::Diffusion &&
                         config.num_time_groups > 1 && time_.axis.problem.empty() &&
                         !layers_.empty();
    if (grouped) {
      searches() ? choose_groups() : group_evenly();
    }
    finish();
    return std::move(time_);
  }

 private:
  struct Rows {
    ActivationRows calibrating, held_out;
  };

  // Whether parameters of activations can differ from group to group.
  bool searches() const {
    return scheme_ && (scheme_->mode == ActMode::Static ||
                       searches_bank(*scheme_, context_.config->enable_activation_clipping));
  }
  size_t steps() const { return time_.axis.steps(); }
  size_t most_groups() const {
    return static_cast<size_t>(std::min<int64_t>(context_.config->num_time_groups, kMaxTimeGroups));
  }

  // What is done to a layer's inputs, as far as it is known before its turn: those that static
  // ranges of 4 bits meet are rotated, which leaves less of them to time. Clip ratios are for
  // those that are not.
  InputTransform transform_of(const PlannedTensor& tensor) const {
    const bool rotated = scheme_ && scheme_->mode == ActMode::Static &&
                         context_.calibration->rotates(tensor, *tensor.decision.bit_width);
    return {{}, rotated ? usual_hadamard_block(static_cast<size_t>(tensor.view.cols)) : 0};
  }

  Rows rows_of(const PlannedTensor& tensor, size_t most_per_step) const {
    LayerCalibration data = file_.read_rows(file_.data_of(tensor.info->name));
    const CalibrationInfo& info = file_.info();
    const auto cols = static_cast<size_t>(data.cols);
    transform_inputs(transform_of(tensor), data.rows.x.data(), data.rows.count(), cols);
    const auto pick = [&](bool held_out) {
      return ActivationRows::Pick{[this, &info, held_out](int32_t trajectory) {
                                    return uses_(trajectory) &&
                                           info.held_out(trajectory) == held_out;
                                  },
                                  most_per_step};
    };
    const size_t num_steps = info.steps.size();
    return {{data.rows, cols, num_steps, pick(false)}, {data.rows, cols, num_steps, pick(true)}};
  }

  size_t held_out_trajectories() const {
    const std::vector<int32_t>& all = file_.info().trajectories;
    return static_cast<size_t>(std::count_if(all.begin(), all.end(), [this](int32_t trajectory) {
      return uses_(trajectory) && file_.info().held_out(trajectory);
    }));
  }

  // Of each step the trajectories of the rows of the layer that has fewest of them.
  std::vector<std::vector<int32_t>> trajectories() const {
    const auto rows = [&](const PlannedTensor* tensor) {
      return file_.layers().at(file_.data_of(tensor->info->name)).calibrating_rows;
    };
    const PlannedTensor* const fewest =
        *std::min_element(layers_.begin(), layers_.end(),
                          [&](const auto* a, const auto* b) { return rows(a) < rows(b); });
    const ActivationRows sample = rows_of(*fewest, SIZE_MAX).calibrating;
    std::vector<std::vector<int32_t>> of_steps;
    for (size_t t = 0; t < sample.steps(); ++t) {
      const std::span<const int32_t> step = sample.trajectories(t);
      of_steps.emplace_back(step.begin(), step.end());
    }
    return of_steps;
  }

  void group_evenly() {
    time_.begins = uniform_time_groups(time_.axis.log_snr, trajectories(), most_groups());
  }

  // As many as the operations allow, from the widest layer's.
  Layers bank_layers() const {
    double widest = 1;
    for (const PlannedTensor* layer : layers_) {
      widest = std::max(widest, static_cast<double>(layer->view.cols));
    }
    const double candidates = scheme_->mode == ActMode::Static ? kRangeCandidates : kClipRatios;
    const double of_layer = 2 * kRowsPerStep * static_cast<double>(steps()) * widest *
                            (2 * WeightSketch::kRows) * candidates;
    const auto affordable = static_cast<size_t>(
        std::clamp(kOperations / of_layer, double{kFewestLayers}, double{kMostLayers}));
    return some_of(layers_, std::min(layers_.size(), affordable));
  }

  WeightSketch sketch(const PlannedTensor& tensor) const {
    const InputTransform transform = transform_of(tensor);
    return sketch_of(
        tensor, component_.source->shards[tensor.shard].file(),
        [&](std::span<float> row) { transform_weights(transform, row.data(), 1, row.size()); },
        context_.cancel);
  }

  // Calls work(index) for each of `count` layers, on all threads.
  void for_each(size_t count, const std::function<void(size_t)>& work) const {
    std::atomic<size_t> next = 0;
    run_on_threads(std::min(count, context_.num_threads), [&](size_t) {
      for (size_t i = next++; i < count; i = next++) {
        check_cancelled(context_.cancel);
        const SharedResources::Turn turn(context_.shared, context_.cancel);
        work(i);
      }
    });
  }

  void choose_groups() {
    const Layers layers = bank_layers();
    std::vector<CandidateCosts> calibrating(layers.size()), held_out(layers.size());
    for_each(layers.size(), [&](size_t i) {
      const WeightSketch of_weights = sketch(*layers[i]);
      const Rows rows = rows_of(*layers[i], kRowsPerStep);
      const ValueRange whole = extremes_of(rows.calibrating);
      calibrating[i] = BankErrors(rows.calibrating, *scheme_, whole, of_weights).costs();
      held_out[i] = BankErrors(rows.held_out, *scheme_, whole, of_weights).costs();
    });
    TimeGrouping chosen = choose_time_groups(calibrating, held_out, trajectories(), most_groups(),
                                             scheme_->bits == 4 ? kLeastSaving : 0);
    time_.begins = std::move(chosen.begins);
    if (time_.begins.size() > 1) decide_smoothing(layers, chosen.candidates);
  }

  std::vector<StepBlend> blends(double window) const {
    const BoundarySmoothingConfig& smoothing = context_.config->thermodynamic.boundary_smoothing;
    return blend_steps({time_.begins, steps(), smoothing.interpolation, window});
  }

  // candidates: of each layer and group.
  void decide_smoothing(const Layers& layers, const std::vector<std::vector<size_t>>& candidates) {
    const BoundarySmoothingConfig& config = context_.config->thermodynamic.boundary_smoothing;
    if (!config.enabled) return;
    const std::vector<StepBlend> jumping = jumping_blends();
    const std::vector<StepBlend> smoothed = blends(static_cast<double>(config.window_size));
    std::vector<std::pair<double, double>> costs(layers.size());
    for_each(layers.size(), [&](size_t i) {
      const WeightSketch of_weights = sketch(*layers[i]);
      const Rows rows = rows_of(*layers[i], kRowsPerStep);
      const ValueRange whole = extremes_of(rows.calibrating);
      ActivationParameters groups;
      for (const size_t candidate : candidates[i]) {
        groups.push_back(bank_candidate(*scheme_, whole, candidate));
      }
      const ActivationCost cost(rows.held_out, of_weights, *scheme_);
      costs[i] = {cost.of(deployed(*scheme_, groups, jumping)),
                  cost.of(deployed(*scheme_, groups, smoothed))};
    });
    double before = 0, after = 0;
    for (const auto& [jumps, smooth] : costs) {
      if (!(jumps > 0)) continue;
      before += 1;
      after += smooth / jumps;
    }
    time_.smooth = before > 0 && after <= before * (1 - phase_gate(held_out_trajectories()));
    time_.smoothing = {"boundary smoothing", before, after, time_.smooth};
    time_.smoothed = smoothed;
  }

  std::vector<StepBlend> jumping_blends() const {
    std::vector<StepBlend> blends;
    for (size_t g = 0; g < time_.begins.size(); ++g) {
      for (size_t t = time_.begins[g]; t < group_end(time_.begins, g, steps()); ++t) {
        blends.push_back({g, 0});
      }
    }
    return blends;
  }

  void finish() {
    time_.jumping = jumping_blends();
    if (time_.begins.size() < 2) return;
    time_.couplings = group_couplings(time_.axis.noise(), time_.axis.log_snr, time_.begins);
    time_.record = time_groups_record(time_.axis, time_.begins);
    if (time_.smooth) {
      const BoundarySmoothingConfig& config = context_.config->thermodynamic.boundary_smoothing;
      time_.record->activation_interpolation = to_string(config.interpolation);
      time_.record->window = config.window_size;
    }
  }

  const PlannedComponent& component_;
  const TimeGroupingContext& context_;
  const CalibrationFile& file_;
  std::optional<ActivationScheme> scheme_;
  std::function<bool(int32_t)> uses_;
  Layers layers_;  // that have a say, with sampled rows, in file order
  ComponentTime time_;
};

}  // namespace

std::function<bool(int32_t)> used_trajectories(const CalibrationInfo& info, int64_t samples) {
  const std::vector<int32_t>& all = info.trajectories;
  const size_t count = std::min(all.size(), static_cast<size_t>(samples));
  std::set<int32_t> used(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
  return [used = std::move(used)](int32_t trajectory) { return used.contains(trajectory); };
}

std::optional<ActivationScheme> activation_scheme(const DiffusionQuantConfig& config) {
  if (!config.activation_bits) return std::nullopt;
  return ActivationScheme{
      config.activation_mode == ActivationMode::Static ? ActMode::Static : ActMode::Dynamic,
      static_cast<int>(*config.activation_bits)};
}

ComponentTime group_timesteps(const PlannedComponent& component,
                              const TimeGroupingContext& context) {
  return Grouping(component, context).run();
}

}  // namespace arrow_quant
