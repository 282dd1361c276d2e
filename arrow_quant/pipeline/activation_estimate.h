// Estimating the activation parameters of each group of timesteps from rows of calibrating
// trajectories.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

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

// The costs of the bank's candidates at each step: clip ratios, or shares of the range `whole`.
CandidateCosts bank_costs(const ActivationRows& rows, const ActivationScheme& scheme,
                          const ValueRange& whole, const WeightSketch& sketch);

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

// The candidates that cost each group least. A group without rows has the first candidate: no
// clipping, the widest range.
ActivationParameters search_parameters(const EstimateTask& task, const ActivationRows& rows);

}  // namespace arrow_quant
