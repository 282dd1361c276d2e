#include "arrow_quant/pipeline/low_rank_trials.h"

#include <utility>

#include "arrow_quant/kernels/kernels.h"

namespace arrow_quant {

LowRankTrials::LowRankTrials(std::shared_ptr<const LayerViews> views, const NamedTreatment& plain,
                             const std::optional<NamedTreatment>& compensated, MatrixShape shape,
                             size_t rank, const CancelToken* cancel)
    : views_(std::move(views)), candidates_{plain}, shape_(shape), rank_(rank), cancel_(cancel) {
  if (compensated) candidates_.push_back(*compensated);
}

void LowRankTrials::allocate() {
  error_.reserve(static_cast<size_t>(shape_.rows * shape_.cols) * sizeof(float));
}

void LowRankTrials::begin_pass(size_t num_chunks) {
  output_errors_.assign(pass_ == Pass::Weigh ? num_chunks : 0, OutputError(views_->num_steps()));
}

void LowRankTrials::process(size_t index, const Chunk& chunk, const RowsView& rows,
                            const QuantizeSpec& spec, float tensor_scale, TrialScratch& scratch) {
  const Treatment& treatment = candidates_[candidate_].treatment;
  const std::span<float> error = error_.as<float>();
  const auto row = static_cast<size_t>(chunk.row_start);
  switch (pass_) {
    case Pass::Collect:
      error_of_rows(treatment, rows, spec, tensor_scale, error.data() + row * rows.cols, scratch);
      break;
    case Pass::Fit:
      fit();
      if (candidate_ == 0 && candidates_.size() > 1 && low_rank_.rank > 0) foresee();
      break;
    case Pass::Weigh:
      weigh_low_rank(treatment, view_from_row(low_rank_, row), inputs_, views_->held_out(), rows,
                     error.data() + row * rows.cols, output_errors_[index], scratch);
      break;
  }
}

void LowRankTrials::fit() {
  const InputTransform& transform = candidates_[candidate_].treatment.view->transform;
  const auto rows = static_cast<size_t>(shape_.rows), cols = static_cast<size_t>(shape_.cols);
  low_rank_ = fit_low_rank(error_.as<float>().first(rows * cols), rows,
                           {views_->xtx(), transform.input_scale}, rank_, cancel_);
  inputs_ = low_rank_inputs(transform, views_->held_out(), low_rank_);
}

// Adds a candidate: the compensated one with the low rank of the plain one foreseen.
void LowRankTrials::foresee() {
  const auto cols = static_cast<size_t>(shape_.cols);
  const InputTransform& from = candidates_[0].treatment.view->transform;
  NamedTreatment candidate = candidates_[1];
  auto view = std::make_shared<InputView>();
  view->transform = candidate.treatment.view->transform;
  std::vector<float> v(low_rank_.rank * cols);
  kernels::widen(low_rank_.v.data(), DType::BF16, v.size(), 1.0f, v.data());
  // Between the scales of two transforms.
  transform_inputs({from.input_scale, 0}, v.data(), low_rank_.rank, cols);
  transform_weights({view->transform.input_scale, 0}, v.data(), low_rank_.rank, cols);
  std::vector<float> squares =
      freed_squares({views_->xtx(), view->transform.input_scale}, cols, v, cancel_);
  if (view->transform.hadamard_block != 0) {
    squares = transform_gram({{}, view->transform.hadamard_block}, squares, cols);
  }
  view->factor = factorize(squares, cols, cancel_);
  if (!view->factor) return;
  view->importance = candidate.treatment.view->importance;
  view->held_out = candidate.treatment.view->held_out;
  candidate.treatment.view = view.get();
  freed_ = std::move(view);
  candidates_.push_back(std::move(candidate));
}

bool LowRankTrials::next_pass() {
  if (pass_ == Pass::Collect) {
    pass_ = Pass::Fit;
    return true;
  }
  if (pass_ == Pass::Fit && low_rank_.rank > 0) {
    pass_ = Pass::Weigh;
    return true;
  }
  if (pass_ == Pass::Weigh) {
    Outcome outcome{candidates_[candidate_], nullptr, nullptr, std::move(output_errors_),
                    OutputError()};
    const bool foreseen = candidates_[candidate_].treatment.view == freed_.get();
    if (foreseen) outcome.view = freed_;
    outcome.treatment.name +=
        (foreseen ? ", for low rank " : ", low rank ") + std::to_string(low_rank_.rank);
    outcome.low_rank = std::make_shared<const LowRank>(std::move(low_rank_));
    for (const OutputError& error : outcome.errors) outcome.total.merge(error);
    outcomes_.push_back(std::move(outcome));
  }
  pass_ = Pass::Collect;
  return ++candidate_ < candidates_.size();
}

}  // namespace arrow_quant
