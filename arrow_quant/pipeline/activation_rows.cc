#include "arrow_quant/pipeline/activation_rows.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "arrow_quant/diffusion/activation_quantizer.h"

namespace arrow_quant {
namespace {

// Q(x) − x of `rows` [n, cols] when a runtime quantizes them.
void activation_errors(const ActivationScheme& scheme, const ActivationParameter& parameter,
                       std::span<const float> rows, size_t cols, std::span<float> errors) {
  if (scheme.mode == ActMode::Dynamic) {
    dynamic_errors(rows, cols, static_cast<float>(parameter.clip), scheme.bits, errors);
  } else {
    static_errors(rows, static_quantizer(parameter.range, scheme.bits), scheme.bits, errors);
  }
}

}  // namespace

ActivationRows::ActivationRows(const SampledRows& sample, size_t cols, size_t steps,
                               const Pick& pick)
    : ActivationRows(cols, steps) {
  std::vector<std::vector<size_t>> of_step(steps);
  for (size_t r = 0; r < sample.count(); ++r) {
    std::vector<size_t>& rows = of_step[static_cast<size_t>(sample.step[r])];
    const bool wanted = !pick.trajectory || pick.trajectory(sample.trajectory[r]);
    if (wanted && rows.size() < pick.most_per_step) rows.push_back(r);
  }
  for (size_t t = 0; t < steps; ++t) {
    for (const size_t r : of_step[t]) {
      append(t, std::span(sample.x).subspan(r * cols, cols), sample.trajectory[r]);
    }
    begins_[t + 1] = count();
  }
}

void ActivationRows::append(size_t step, std::span<const float> row, int32_t trajectory) {
  x_.insert(x_.end(), row.begin(), row.end());
  trajectories_.push_back(trajectory);
  begins_[step + 1] = count();
}

std::span<const float> ActivationRows::of_steps(size_t first_step, size_t end_step) const {
  return std::span(x_).subspan(begins_[first_step] * cols_, count(first_step, end_step) * cols_);
}

std::span<const int32_t> ActivationRows::trajectories(size_t step) const {
  return std::span(trajectories_).subspan(begins_[step], count(step, step + 1));
}

std::vector<int32_t> ActivationRows::trajectories() const {
  const std::set<int32_t> all(trajectories_.begin(), trajectories_.end());
  return {all.begin(), all.end()};
}

ActivationRows ActivationRows::where(const RowFilter& takes) const {
  ActivationRows some(cols_, steps());
  for (size_t t = 0; t < steps(); ++t) {
    const std::span<const int32_t> of_rows = trajectories(t);
    for (size_t i = 0; i < of_rows.size(); ++i) {
      if (takes(i, of_rows[i])) some.append(t, at(t).subspan(i * cols_, cols_), of_rows[i]);
    }
    some.begins_[t + 1] = some.count();
  }
  return some;
}

ActivationCost::ActivationCost(const ActivationRows& rows, const WeightSketch& sketch,
                               ActivationScheme scheme)
    : rows_(rows), sketch_(sketch), scheme_(scheme) {
  for (size_t t = 0; t < rows.steps(); ++t) {
    energies_.push_back(energy(rows.at(t)));
  }
}

double ActivationCost::energy(std::span<const float> rows) const {
  std::vector<double> energies(rows.size() / rows_.cols());
  sketch_.energies(rows, energies);
  return std::accumulate(energies.begin(), energies.end(), 0.0);
}

double ActivationCost::of(std::span<const ActivationParameter> parameters) const {
  double sum = 0;
  size_t steps = 0;
  std::vector<float> errors;
  for (size_t t = 0; t < energies_.size(); ++t) {
    if (!(energies_[t] > 0)) continue;
    const std::span<const float> rows = rows_.at(t);
    errors.resize(rows.size());
    activation_errors(scheme_, parameters[t], rows, rows_.cols(), errors);
    sum += energy(errors) / energies_[t];
    ++steps;
  }
  return steps == 0 ? 0 : sum / static_cast<double>(steps);
}

}  // namespace arrow_quant
