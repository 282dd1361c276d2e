#include "arrow_quant/pipeline/activation_choice.h"

#include <algorithm>
#include <string>
#include <utility>

#include "arrow_quant/diffusion/activation_quantizer.h"
#include "arrow_quant/pipeline/activation_phases.h"

namespace arrow_quant {
namespace {

constexpr double kMargins[] = {1, 1.15, 1.3};

// Least fall of the held-out error for clip ratios to be kept: below that whole models lost by it.
constexpr double kClipGate = 0.10;

// The same for transition optimization. Where layers gained 3 to 7 % by it, a UNet's predictions
// lost 3 %; a text model that predicted a quarter better had most of its gain from layers above.
constexpr double kTransitionGate = 0.10;

ActivationParameters with_margin(ActivationParameters parameters, double margin) {
  for (ActivationParameter& parameter : parameters) {
    parameter.range = {parameter.range.lo * margin, parameter.range.hi * margin};
  }
  return parameters;
}

class Choosing {
 public:
  explicit Choosing(const ActivationTask& task)
      : task_(task),
        cost_(*task.held_out, *task.sketch, task.scheme),
        estimate_{task.scheme, task.sketch, task.time.begins, whole_range()} {}

  ActivationChoice run() {
    parameters_ = plain(estimate_);
    error_ = error_of(parameters_);
    search();
    if (task_.time.begins.size() > 1) {
      smooth_boundaries();
      if (searched_ || is_static()) run_phases();
    }
    if (task_.phases->validation.enabled) {
      choice_.diagnosis =
          diagnose(phase_task(), parameters_, task_.phases->validation.smoothness_threshold);
    }
    choice_.act = stored();
    return std::move(choice_);
  }

 private:
  bool is_static() const { return task_.scheme.mode == ActMode::Static; }

  ActivationParameters plain(const EstimateTask& estimate) const {
    return task_.step_ranges.empty() ? plain_parameters(estimate, *task_.calibrating)
                                     : plain_parameters(estimate, task_.step_ranges);
  }

  ValueRange whole_range() const {
    ValueRange whole = extremes_of(*task_.calibrating);
    for (const ValueRange& range : task_.step_ranges) {
      whole = {std::min(whole.lo, range.lo), std::max(whole.hi, range.hi)};
    }
    return whole;
  }

  double gate() const { return phase_gate(task_.held_out->trajectories().size()); }

  double error_of(const ActivationParameters& parameters) const {
    const ActivationTime& time = task_.time;
    return cost_.of(deployed(task_.scheme, parameters, time.smooth ? time.smoothed : time.jumping));
  }

  // Keeps the parameters if the held-out error falls by the share `gate` at least.
  bool offer(const std::string& name, ActivationParameters parameters, double gate) {
    const double error = error_of(parameters);
    const bool accepted = error < error_ && error <= error_ * (1 - gate);
    choice_.steps.push_back({name, error_, error, accepted});
    if (accepted) {
      parameters_ = std::move(parameters);
      error_ = error;
    }
    return accepted;
  }

  void search() {
    if (searches_bank(task_.scheme, task_.may_clip)) {
      bank_.emplace(*task_.calibrating, task_.scheme, estimate_.whole, *task_.sketch);
      if (is_static()) {
        search_ranges();
      } else {
        searched_ = offer("clip", search_parameters(estimate_, *bank_), kClipGate);
      }
    } else if (is_static()) {
      const ActivationParameters plain = parameters_;
      for (const double margin : kMargins) {
        if (margin == 1) continue;
        offer("static range, margin " + std::string(margin < 1.2 ? "1.15" : "1.3"),
              with_margin(plain, margin), 0);
      }
    }
  }

  // One range for all times first; those of the groups must be better.
  void search_ranges() {
    const size_t groups = task_.time.begins.size();
    EstimateTask all_times = estimate_;
    all_times.begins = all_times.begins.first(1);
    const auto repeated = [&](const ActivationParameters& one) {
      return ActivationParameters(groups, one.front());
    };
    parameters_ = repeated(plain(all_times));
    error_ = error_of(parameters_);
    searched_ = offer("static range", repeated(search_parameters(all_times, *bank_)), 0);
    if (groups == 1) return;
    searched_ = offer("ranges of groups", search_parameters(estimate_, *bank_), 0) || searched_;
  }

  // Decided for the component as a whole; here it is only reported.
  void smooth_boundaries() {
    const ActivationTime& time = task_.time;
    if (time.smoothed.empty()) return;
    const double before = cost_.of(deployed(task_.scheme, parameters_, time.jumping));
    const double after = cost_.of(deployed(task_.scheme, parameters_, time.smoothed));
    choice_.steps.push_back({"boundary smoothing", before, after, time.smooth});
  }

  PhaseTask phase_task() const {
    return {estimate_, bank_ ? &*bank_ : nullptr, task_.calibrating, task_.held_out,
            task_.time.couplings};
  }

  void run_phases() {
    const PhaseTask phase = phase_task();
    if (task_.phases->boundary_smoothing.enabled) {
      if (auto smoothed = smooth_small_samples(phase, parameters_)) {
        offer("markov smoother", *std::move(smoothed), gate());
      }
    }
    if (task_.phases->transition_optimization.enabled) optimize();
  }

  void optimize() {
    const auto [first, second] = halves_of(*task_.held_out);
    const ActivationRows pick = task_.held_out->where(first);
    const ActivationRows confirm = task_.held_out->where(second);
    PhaseTask phase = phase_task();
    phase.held_out = &pick;
    auto optimized = optimize_parameters(phase, parameters_, task_.phases->transition_optimization);
    if (!optimized) return;
    const ActivationCost confirming(confirm, *task_.sketch, task_.scheme);
    const ActivationTime& time = task_.time;
    const auto blends = time.smooth ? time.smoothed : time.jumping;
    const double before = confirming.of(deployed(task_.scheme, parameters_, blends));
    const double after = confirming.of(deployed(task_.scheme, *optimized, blends));
    const bool accepted =
        after < before && after <= before * (1 - std::max(gate(), kTransitionGate));
    choice_.steps.push_back({"transition optimization", before, after, accepted});
    if (accepted) parameters_ = *std::move(optimized);
  }

  std::vector<ActivationRange> stored() const {
    std::vector<ActivationRange> act;
    for (const ActivationParameter& parameter : parameters_) {
      if (is_static()) {
        const StaticQuantizer quantizer = static_quantizer(parameter.range, task_.scheme.bits);
        act.push_back({1, quantizer.scale, static_cast<float>(quantizer.zero_point)});
      } else {
        act.push_back({static_cast<float>(parameter.clip), 1, 0});
      }
    }
    const bool same = std::all_of(act.begin(), act.end(),
                                  [&](const ActivationRange& range) { return range == act[0]; });
    if (same) act.resize(1);
    return act;
  }

  const ActivationTask& task_;
  ActivationCost cost_;  // on held-out rows
  EstimateTask estimate_;
  std::optional<BankErrors> bank_;   // of calibrating rows, where parameters are searched
  ActivationParameters parameters_;  // of each group
  double error_ = 0;                 // what they cost
  bool searched_ = false;            // they came from the bank
  ActivationChoice choice_;
};

// What the stored scale and zero point make of a range.
ValueRange rounded_range(const ValueRange& range, int bits) {
  const StaticQuantizer quantizer = static_quantizer(range, bits);
  const double scale = quantizer.scale;
  const double most = (1 << bits) - 1;
  return {-scale * quantizer.zero_point, scale * (most - quantizer.zero_point)};
}

}  // namespace

ActivationChoice choose_activation(const ActivationTask& task) {
  return Choosing(task).run();
}

ActivationParameters deployed(const ActivationScheme& scheme, const ActivationParameters& groups,
                              std::span<const StepBlend> blends) {
  std::vector<double> clips;
  std::vector<ValueRange> ranges;
  for (const ActivationParameter& group : groups) {
    clips.push_back(static_cast<float>(group.clip));
    ranges.push_back(rounded_range(group.range, scheme.bits));
  }
  ActivationParameters steps(blends.size());
  if (scheme.mode == ActMode::Dynamic) {
    const std::vector<double> of_steps = expand_clips(clips, blends);
    for (size_t t = 0; t < steps.size(); ++t) steps[t].clip = of_steps[t];
  } else {
    const std::vector<ValueRange> of_steps = expand_ranges(ranges, blends);
    for (size_t t = 0; t < steps.size(); ++t) steps[t].range = of_steps[t];
  }
  return steps;
}

}  // namespace arrow_quant
