#include "arrow_quant/pipeline/activation_estimate.h"

#include <algorithm>

namespace arrow_quant {
namespace {

// Rows of a step on which candidates are compared; more hardly change which one wins.
constexpr size_t kBankRows = 16;

void widen(ValueRange& range, const ValueRange& by) {
  range.lo = std::min(range.lo, by.lo);
  range.hi = std::max(range.hi, by.hi);
}

ValueRange extremes_of(std::span<const float> values) {
  ValueRange range;
  for (const float value : values) {
    range.lo = std::min(range.lo, static_cast<double>(value));
    range.hi = std::max(range.hi, static_cast<double>(value));
  }
  return range;
}

}  // namespace

size_t group_end(std::span<const size_t> begins, size_t group, size_t steps) {
  return group + 1 < begins.size() ? begins[group + 1] : steps;
}

bool searches_bank(const ActivationScheme& scheme, bool may_clip) {
  return scheme.bits == 4 && (scheme.mode == ActMode::Static || may_clip);
}

ValueRange extremes_of(const ActivationRows& rows) {
  return extremes_of(rows.of_steps(0, rows.steps()));
}

BankErrors::BankErrors(const ActivationRows& rows, const ActivationScheme& scheme,
                       const ValueRange& whole, const WeightSketch& sketch)
    : candidates_(scheme.mode == ActMode::Dynamic ? kClipRatios : kRangeCandidates) {
  for (size_t t = 0; t < rows.steps(); ++t) {
    const size_t taken = std::min(rows.count(t, t + 1), kBankRows);
    const std::span<const float> some = rows.at(t).first(taken * rows.cols());
    of_steps_.push_back(scheme.mode == ActMode::Dynamic
                            ? clip_errors(some, scheme.bits, sketch)
                            : range_errors(some, whole, scheme.bits, sketch));
    const std::span<const int32_t> trajectories = rows.trajectories(t).first(taken);
    trajectories_.emplace_back(trajectories.begin(), trajectories.end());
  }
}

CandidateCosts BankErrors::costs(const RowFilter& takes) const {
  CandidateCosts table;
  table.candidates = candidates_;
  for (size_t t = 0; t < of_steps_.size(); ++t) {
    std::vector<size_t> rows;
    for (size_t r = 0; r < trajectories_[t].size(); ++r) {
      if (!takes || takes(r, trajectories_[t][r])) rows.push_back(r);
    }
    const std::vector<double> costs = of_steps_[t].costs(rows);
    table.costs.insert(table.costs.end(), costs.begin(), costs.end());
  }
  return table;
}

ActivationParameter bank_candidate(const ActivationScheme& scheme, const ValueRange& whole,
                                   size_t candidate) {
  if (scheme.mode == ActMode::Dynamic) return {clip_ratio(candidate), {}};
  return {1, range_candidate(whole, candidate)};
}

ActivationParameters plain_parameters(const EstimateTask& task, const ActivationRows& rows) {
  std::vector<ValueRange> of_steps;
  for (size_t t = 0; t < rows.steps(); ++t) of_steps.push_back(extremes_of(rows.at(t)));
  return plain_parameters(task, of_steps);
}

ActivationParameters plain_parameters(const EstimateTask& task,
                                      std::span<const ValueRange> of_steps) {
  ActivationParameters parameters(task.begins.size());
  if (task.scheme.mode == ActMode::Dynamic) return parameters;
  for (size_t g = 0; g < parameters.size(); ++g) {
    ValueRange& range = parameters[g].range;
    for (size_t t = task.begins[g]; t < group_end(task.begins, g, of_steps.size()); ++t) {
      widen(range, of_steps[t]);
    }
    if (range.width() <= 0) range = task.whole;
  }
  return parameters;
}

ActivationParameters search_parameters(const EstimateTask& task, const BankErrors& bank,
                                       const RowFilter& takes) {
  ActivationParameters parameters;
  for (const size_t candidate : best_candidates(bank.costs(takes), task.begins)) {
    parameters.push_back(bank_candidate(task.scheme, task.whole, candidate));
  }
  return parameters;
}

}  // namespace arrow_quant
