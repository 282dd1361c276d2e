// The thermodynamic phases on the activation parameters of one layer: steadying estimates from few
// rows, optimizing the parameters of all groups together, and diagnosing what came out.
#pragma once

#include <optional>
#include <span>
#include <utility>

#include "arrow_quant/diffusion/markov.h"
#include "arrow_quant/diffusion/thermodynamic.h"
#include "arrow_quant/pipeline/activation_estimate.h"

namespace arrow_quant {

struct PhaseTask {
  EstimateTask estimate;
  const BankErrors* bank = nullptr;  // of the calibrating rows; null: parameters are not searched
  const ActivationRows* calibrating = nullptr;
  const ActivationRows* held_out = nullptr;
  std::span<const double> couplings;  // of neighbouring groups
};

// The share by which a phase must lower the held-out error to be kept. With n held-out trajectories
// it is 0.5 % + 20 % / n²: rows of few trajectories hold few of the extremes that a narrower range
// cuts off. One trajectory cannot both choose and confirm: nothing is kept.
double phase_gate(size_t held_out_trajectories);

// Two halves of rows: every second trajectory, of a single one every second row of each step.
std::pair<RowFilter, RowFilter> halves_of(const ActivationRows& rows);

// The parameters pulled towards those of neighbouring groups, as far as trajectories that are left
// out ask for. Unset where there is nothing to do: every group has 64 rows, trajectories do not
// ask for it, a range has no width.
std::optional<ActivationParameters> smooth_small_samples(const PhaseTask& task,
                                                         const ActivationParameters& parameters);

// See optimize_transitions(): at most 32 rows of each group, spread evenly. Unset where a group has
// no calibrating rows, a range has no width, or nothing got better on the held-out rows.
std::optional<ActivationParameters> optimize_parameters(const PhaseTask& task,
                                                        const ActivationParameters& parameters,
                                                        const TransitionOptimizationConfig& config);

// The jumps between groups, judged by the jump between what two halves of each group's rows give.
MarkovDiagnosis diagnose(const PhaseTask& task, const ActivationParameters& parameters,
                         double threshold);

}  // namespace arrow_quant
