// Estimating the activation parameters of each group of timesteps from rows of calibrating
// trajectories.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/candidate_bank.h"
#include "arrow_quant/diffusion/time_groups.h"
#include "arrow_quant/pipeline/activation_rows.h"

namespace arrow_quant {

using ActivationParameters = std::vector<ActivationParameter>;

// One past the last step of a group.
size_t group_end(std::span<const size_t> begins, size_t group, size_t steps);

// Whether a search in the bank of candidates is worth it: at 4 bits, of clip ratios only where
// these may be less than 1.
bool searches_bank(const ActivationScheme& scheme, bool may_clip);

// What all rows lie between, 0 included.
ValueRange extremes_of(const ActivationRows& rows);

// What the bank's candidates make of at most 16 rows of each step: clip ratios, or shares of the
// range `whole`. One look at the rows serves all questions about parts of them.
class BankErrors {
 public:
  BankErrors(const ActivationRows& rows, const ActivationScheme& scheme, const ValueRange& whole,
             const WeightSketch& sketch);

  // The costs of each step, from all its rows or some of them.
  CandidateCosts costs(const RowFilter& takes = {}) const;

 private:
  size_t candidates_;
  std::vector<CandidateErrors> of_steps_;
  std::vector<std::vector<int32_t>> trajectories_;  // of their rows
};

// The candidates of a bank as parameters.
ActivationParameter bank_candidate(const ActivationScheme& scheme, const ValueRange& whole,
                                   size_t candidate);

// What a layer's parameters are estimated for.
struct EstimateTask {
  ActivationScheme scheme;
  const WeightSketch* sketch = nullptr;
  std::span<const size_t> begins;  // the first step of each group
  ValueRange whole;                // what the inputs of all steps lie between, 0 included
};

// Without a search: clip 1, and the range of each group's rows; of a group without rows `whole`.
ActivationParameters plain_parameters(const EstimateTask& task, const ActivationRows& rows);
// The same from the range of each step.
ActivationParameters plain_parameters(const EstimateTask& task,
                                      std::span<const ValueRange> of_steps);

// The candidates that cost each group least, on all rows of the bank or some of them. A group
// without rows has the first candidate: no clipping, the widest range.
ActivationParameters search_parameters(const EstimateTask& task, const BankErrors& bank,
                                       const RowFilter& takes = {});

}  // namespace arrow_quant
