// Groups of neighbouring timesteps that share the parameters of activations and one correction of
// biases: where they begin, and which candidate of each layer serves each of them.
//
// Steps are those of the calibration, 0 = the noisiest. One grouping holds for all layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace arrow_quant {

// What each of a layer's candidates (clip ratios, ranges) costs at each step: its error relative
// to the step's signal times the step's weight, finite and ≥ 0. Row-major [steps][candidates].
struct CandidateCosts {
  std::vector<double> costs;
  size_t candidates = 0;

  double at(size_t step, size_t candidate) const { return costs[step * candidates + candidate]; }
  size_t steps() const { return candidates == 0 ? 0 : costs.size() / candidates; }
};

// What a group must be able to learn from.
struct GroupNeeds {
  size_t rows = 64;
  size_t trajectories = 4;
};

// For each step the trajectory that each of its sampled rows comes from.
using RowTrajectories = std::span<const std::vector<int32_t>>;

// GroupNeeds, lowered to what all steps together have: a calibration of 40 rows makes one group,
// one of two trajectories makes groups that hold both.
GroupNeeds attainable_needs(RowTrajectories rows, GroupNeeds needs = {});

// The first step of each group; [0] is 0, the others are the boundaries.
using GroupBegins = std::vector<size_t>;

struct TimeGrouping {
  GroupBegins begins;
  // The candidate of each layer and group: [layer][group].
  std::vector<std::vector<size_t>> candidates;
  // Sum over layers of the cost on held-out rows, 1 per layer = what one group costs. Of each
  // number of groups that was tried, 1 first.
  std::vector<double> held_out_costs;
};

// Chooses boundaries and candidates by dynamic programming over all groupings of at most
// max_groups groups, each of which meets the needs (see attainable_needs):
//   cost(i, j) of steps i … j = Σ_layers min_k Σ_t costs[t][k] / min_k Σ_all t costs[t][k]
// and takes the number of groups that costs least on the held-out rows when each further group is
// charged 2.5 %; one group if these save less than the share `least_saving` of what it costs.
// Layers that cost nothing anywhere have no say. Pre: layers and held_out have the same shape, at
// least one step; one entry of rows per step; max_groups ≥ 1. Cost: O(steps² · candidates · layers
// + max_groups · steps²), steps² numbers.
TimeGrouping choose_time_groups(std::span<const CandidateCosts> layers,
                                std::span<const CandidateCosts> held_out, RowTrajectories rows,
                                size_t max_groups, double least_saving = 0, GroupNeeds needs = {});

// The candidate of each group that costs a layer least; of equal ones the first. For layers that
// had no part in choosing the groups.
std::vector<size_t> best_candidates(const CandidateCosts& layer, std::span<const size_t> begins);

// Where nothing but biases depends on time: at most max_groups groups of about equal spans of
// log-SNR between −10 and 10 (what is noisier or cleaner looks the same), each meeting the needs.
// log_snr: of each step, never falling.
GroupBegins uniform_time_groups(std::span<const double> log_snr, RowTrajectories rows,
                                size_t max_groups, GroupNeeds needs = {});

}  // namespace arrow_quant
