#include "arrow_quant/pipeline/activation_phases.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "arrow_quant/diffusion/markov_smoother.h"
#include "arrow_quant/diffusion/transition_optimization.h"

namespace arrow_quant {
namespace {

constexpr size_t kSmallSample = 64;    // rows of a group
constexpr size_t kOptimizedRows = 32;  // of a group

std::vector<ValueRange> ranges_of(const ActivationParameters& parameters) {
  std::vector<ValueRange> ranges;
  for (const ActivationParameter& parameter : parameters) ranges.push_back(parameter.range);
  return ranges;
}

// The coordinates in which parameters of a scheme are compared and moved.
class Coordinating {
 public:
  Coordinating(const ActivationScheme& scheme, const ActivationParameters& parameters)
      : is_static_(scheme.mode == ActMode::Static),
        mean_width_(mean_width(ranges_of(parameters))) {}

  double width() const { return mean_width_; }
  // Parameters without coordinates are ranges without width.
  bool has_coordinates(const ActivationParameters& parameters) const {
    return !is_static_ || std::all_of(parameters.begin(), parameters.end(),
                                      [](const auto& p) { return p.range.width() > 0; });
  }
  Coordinates of(const ActivationParameter& parameter) const {
    return is_static_ ? range_coordinates(parameter.range, mean_width_)
                      : clip_coordinates(parameter.clip);
  }
  ActivationParameter at(const Coordinates& u) const {
    if (!is_static_) return {std::min(clip_at(u), 1.0), {}};
    const ValueRange range = range_at(u, mean_width_);
    return {1, {std::min(range.lo, 0.0), std::max(range.hi, 0.0)}};
  }
  double jump(const ActivationParameter& a, const ActivationParameter& b) const {
    return is_static_ ? range_jump(a.range, b.range, mean_width_) : clip_jump(a.clip, b.clip);
  }

 private:
  bool is_static_;
  double mean_width_;
};

// From some of the calibrating rows.
ActivationParameters estimated(const PhaseTask& task, const RowFilter& takes) {
  return task.bank != nullptr ? search_parameters(task.estimate, *task.bank, takes)
                              : plain_parameters(task.estimate, task.calibrating->where(takes));
}

size_t rows_of_group(const ActivationRows& rows, std::span<const size_t> begins, size_t group) {
  return rows.count(begins[group], group_end(begins, group, rows.steps()));
}

// Of one trajectory: the coordinates of each group times its rows, and how many these are.
TrajectorySums sums_of(const PhaseTask& task, int32_t trajectory,
                       const Coordinating& coordinating) {
  const RowFilter takes = [&](size_t, int32_t number) { return number == trajectory; };
  const ActivationParameters parameters = estimated(task, takes);
  TrajectorySums sums;
  sums.sums.steps = parameters.size();
  const ActivationRows rows = task.calibrating->where(takes);
  for (size_t g = 0; g < parameters.size(); ++g) {
    const auto count = static_cast<double>(rows_of_group(rows, task.estimate.begins, g));
    sums.counts.push_back(count);
    for (const double value : coordinating.of(parameters[g])) {
      sums.sums.values.push_back(count * value);
    }
  }
  return sums;
}

std::vector<TrajectorySums> sums_of_trajectories(const PhaseTask& task,
                                                 const Coordinating& coordinating) {
  std::vector<TrajectorySums> all;
  for (const int32_t trajectory : task.calibrating->trajectories()) {
    all.push_back(sums_of(task, trajectory, coordinating));
  }
  return all;
}

// At most kOptimizedRows of a group, spread evenly.
std::vector<float> some_rows(const ActivationRows& rows, size_t first_step, size_t end_step) {
  const std::span<const float> all = rows.of_steps(first_step, end_step);
  const size_t count = rows.count(first_step, end_step);
  const size_t taken = std::min(count, kOptimizedRows);
  std::vector<float> some;
  for (size_t i = 0; i < taken; ++i) {
    const std::span<const float> row = all.subspan(i * count / taken * rows.cols(), rows.cols());
    some.insert(some.end(), row.begin(), row.end());
  }
  return some;
}

}  // namespace

double phase_gate(size_t held_out_trajectories) {
  const auto n = static_cast<double>(held_out_trajectories);
  return n < 2 ? 1.0 : 0.005 + 0.2 / (n * n);
}

std::pair<RowFilter, RowFilter> halves_of(const ActivationRows& rows) {
  const std::vector<int32_t> trajectories = rows.trajectories();
  if (trajectories.size() < 2) {
    return {[](size_t place, int32_t) { return place % 2 == 0; },
            [](size_t place, int32_t) { return place % 2 == 1; }};
  }
  std::set<int32_t> first;
  for (size_t i = 0; i < trajectories.size(); i += 2) first.insert(trajectories[i]);
  return {[first](size_t, int32_t number) { return first.contains(number); },
          [first](size_t, int32_t number) { return !first.contains(number); }};
}

std::optional<ActivationParameters> smooth_small_samples(const PhaseTask& task,
                                                         const ActivationParameters& parameters) {
  const Coordinating coordinating(task.estimate.scheme, parameters);
  const std::span<const size_t> begins = task.estimate.begins;
  std::vector<double> counts;
  for (size_t g = 0; g < begins.size(); ++g) {
    counts.push_back(static_cast<double>(rows_of_group(*task.calibrating, begins, g)));
  }
  const bool small = *std::min_element(counts.begin(), counts.end()) < kSmallSample;
  if (!small || !coordinating.has_coordinates(parameters) || task.estimate.whole.width() <= 0) {
    return std::nullopt;
  }
  const double rho = choose_smoothing(sums_of_trajectories(task, coordinating), task.couplings);
  if (rho == 0) return std::nullopt;
  TimeSequence means;
  means.steps = parameters.size();
  for (const ActivationParameter& parameter : parameters) {
    const Coordinates u = coordinating.of(parameter);
    means.values.insert(means.values.end(), u.begin(), u.end());
  }
  const TimeSequence smoothed = smooth_over_time(means, counts, task.couplings, rho);
  ActivationParameters result;
  for (size_t g = 0; g < parameters.size(); ++g) {
    result.push_back(coordinating.at({smoothed.at(g)[0], smoothed.at(g)[1]}));
  }
  return result;
}

std::optional<ActivationParameters> optimize_parameters(
    const PhaseTask& task, const ActivationParameters& parameters,
    const TransitionOptimizationConfig& config) {
  const Coordinating coordinating(task.estimate.scheme, parameters);
  if (!coordinating.has_coordinates(parameters)) return std::nullopt;
  const bool is_static = task.estimate.scheme.mode == ActMode::Static;
  const size_t groups = parameters.size();
  std::vector<std::vector<float>> calibrating(groups), held_out(groups);
  std::vector<std::unique_ptr<TransitionError>> errors;
  std::vector<Coordinates> start;
  for (size_t g = 0; g < groups; ++g) {
    const size_t first = task.estimate.begins[g];
    const size_t end = group_end(task.estimate.begins, g, task.calibrating->steps());
    calibrating[g] = some_rows(*task.calibrating, first, end);
    held_out[g] = some_rows(*task.held_out, first, end);
    if (calibrating[g].empty()) return std::nullopt;
    const TransitionRows rows = {calibrating[g], held_out[g], task.estimate.sketch,
                                 task.estimate.scheme.bits};
    errors.push_back(is_static ? static_row_error(rows, coordinating.width())
                               : dynamic_row_error(rows));
    start.push_back(coordinating.of(parameters[g]));
  }
  const TransitionResult result = optimize_transitions(errors, start, task.couplings, config);
  if (result.improved_groups == 0) return std::nullopt;
  ActivationParameters optimized;
  for (const Coordinates& u : result.coordinates) optimized.push_back(coordinating.at(u));
  return optimized;
}

MarkovDiagnosis diagnose(const PhaseTask& task, const ActivationParameters& parameters,
                         double threshold) {
  const Coordinating coordinating(task.estimate.scheme, parameters);
  std::vector<double> jumps, floors;
  for (size_t g = 0; g + 1 < parameters.size(); ++g) {
    jumps.push_back(coordinating.jump(parameters[g], parameters[g + 1]));
  }
  if (!jumps.empty()) {
    const auto [first, second] = halves_of(*task.calibrating);
    const ActivationParameters of_first = estimated(task, first);
    const ActivationParameters of_second = estimated(task, second);
    for (size_t g = 0; g < parameters.size(); ++g) {
      floors.push_back(coordinating.jump(of_first[g], of_second[g]));
    }
  }
  return diagnose_jumps(jumps, task.couplings, floors, threshold);
}

}  // namespace arrow_quant
