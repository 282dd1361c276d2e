// The part of a TensorJob that has calibration data: which treatment is taken, and whether a low
// rank makes up for what it costs.
#include <algorithm>
#include <utility>

#include "arrow_quant/pipeline/tensor_job.h"

namespace arrow_quant {

TensorJob::Next TensorJob::conclude_weighing() {
  const std::vector<NamedTreatment> treatments = views_->treatments(*width_);
  std::vector<OutputError> totals(treatments.size());
  for (const std::vector<OutputError>& chunk : output_errors_) {
    for (size_t i = 0; i < treatments.size(); ++i) {
      totals[i].merge(chunk[i]);
    }
  }
  std::vector<double> errors;
  for (const OutputError& total : totals) {
    errors.push_back(total.relative());
  }
  const size_t best = LayerViews::best_of(treatments, errors);
  trials_.clear();
  for (size_t i = 0; i < treatments.size(); ++i) {
    trials_.push_back({treatments[i].name, errors[i], i == best});
  }
  take(treatments[best]);
  set_output_errors(
      [&](size_t chunk) -> const OutputError& { return output_errors_[chunk][best]; });
  output_errors_.clear();
  if (begin_low_ranks(treatments, errors)) {
    return Next::Again;
  }
  return judge_accuracy(totals[best].cosine());
}

void TensorJob::take(const NamedTreatment& treatment) {
  treatment_ = treatment.treatment;
  method_ = treatment.name;
}

void TensorJob::set_output_errors(const std::function<const OutputError&(size_t)>& of_chunk) {
  block_output_errors_.assign(blocks_.size(), OutputError());
  for (size_t i = 0; i < chunks_.size(); ++i) {
    block_output_errors_[chunks_[i].block].merge(of_chunk(i));
  }
}

OutputError TensorJob::output_error() const {
  OutputError whole;
  for (const OutputError& block : block_output_errors_) {
    whole.merge(block);
  }
  return whole;
}

bool TensorJob::begin_low_ranks(const std::vector<NamedTreatment>& treatments,
                                std::span<const double> errors) {
  const size_t rank = calibration_->low_rank_of(tensor_, *width_);
  if (rank == 0) {
    return false;
  }
  const auto best_where = [&](bool compensated) -> std::optional<NamedTreatment> {
    std::vector<NamedTreatment> some;
    std::vector<double> of_some;
    for (size_t i = 0; i < treatments.size(); ++i) {
      if (treatments[i].treatment.recipe.compensated != compensated) continue;
      some.push_back(treatments[i]);
      of_some.push_back(errors[i]);
    }
    if (some.empty()) return std::nullopt;
    return some[LayerViews::best_of(some, of_some)];
  };
  low_ranks_ = std::make_unique<LowRankTrials>(views_, *best_where(false), best_where(true),
                                               tensor_.view, rank, calibration_->cancel());
  begin_pass();
  return true;
}

TensorJob::Next TensorJob::conclude_low_rank() {
  if (low_ranks_->next_pass()) {
    begin_pass();
    return Next::Again;
  }
  const std::unique_ptr<LowRankTrials> tried = std::move(low_ranks_);
  double least = kLowRankGate * output_error().relative();
  LowRankTrials::Outcome* taken = nullptr;
  for (LowRankTrials::Outcome& outcome : tried->outcomes()) {
    const double error = outcome.total.relative();
    trials_.push_back({outcome.treatment.name, error, false});
    if (error < least) {
      least = error;
      taken = &outcome;
    }
  }
  if (taken != nullptr) {
    take(taken->treatment);
    low_rank_ = taken->low_rank;
    own_view_ = taken->view;
    set_output_errors([&](size_t chunk) -> const OutputError& { return taken->errors[chunk]; });
    for (TrialReport& trial : trials_) trial.accepted = trial.name == method_;
  }
  return judge_accuracy(output_error().cosine());
}

}  // namespace arrow_quant
