// Choosing the activation parameters of all groups of timesteps together, by gradient descent:
//   L(u) = Σ_g n_g/n · E_g(u_g) / E_g(start_g)                         what they cost the outputs
//        + markov_weight · Σ_g κ_g ‖u_{g+1} − u_g‖² / Σ_g κ_g          jumps between groups
//        + entropy_weight · Σ_g n_g/n · (1 − H_g(u_g) / bits)          codes that are not used
// n_g the weight of group g, κ the couplings of neighbours. What is taken is what held-out rows
// confirm, group by group, never what the loss likes best: with few rows a loss without jumps fits
// the sample, and where the start was searched on rows there is little left to gain.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/thermodynamic.h"
#include "arrow_quant/diffusion/transition_error.h"

namespace arrow_quant {

using TransitionErrors = std::span<const std::unique_ptr<TransitionError>>;  // of each group

// Groups whose start costs nothing have no part in the first sum.
class TransitionLoss {
 public:
  struct Weights {
    double markov = 0;
    double entropy = 0;
  };

  // start: of each group; couplings: of each boundary, in (0, 1]. All must outlive the loss.
  TransitionLoss(TransitionErrors groups, std::span<const Coordinates> start,
                 std::span<const double> couplings);

  // L, and its gradient by the coordinates of every group.
  double evaluate(std::span<const Coordinates> u, const Weights& weights,
                  std::span<Coordinates> gradient) const;

 private:
  double add_jumps(std::span<const Coordinates> u, double weight,
                   std::span<Coordinates> gradient) const;

  TransitionErrors groups_;
  std::span<const double> couplings_;
  std::vector<double> shares_;        // n_g / n
  std::vector<double> start_errors_;  // E_g(start_g)
};

struct TransitionResult {
  std::vector<Coordinates> coordinates;  // of each group
  // Held-out errors of each group at the start and now; 0 where a group has no held-out sample.
  std::vector<double> held_out_before, held_out_after;  // after ≤ before
  size_t improved_groups = 0;
  size_t iterations = 0;  // of all descents
};

// Adam(0.9, 0.99) with step learning_rate, in logarithms of widths, from `start`, once for each of
// 0, 1, 10 and 100 times markov_weight (once if that is 0). A descent ends after max_iterations, or
// after three iterations in a row that lower the loss by less than convergence_threshold of it.
// Each group takes, of all iterates, the one with the least error on its held-out sample, the start
// included; a group without such a sample stays where it started. beta_schedule and enabled are not
// read. Cost: an evaluation of each group's error and held-out error per iteration.
TransitionResult optimize_transitions(TransitionErrors groups, std::span<const Coordinates> start,
                                      std::span<const double> couplings,
                                      const TransitionOptimizationConfig& config);

}  // namespace arrow_quant
