#include "arrow_quant/diffusion/time_groups.h"

#include <algorithm>
#include <limits>
#include <map>

namespace arrow_quant {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// What a further group must save of the held-out cost: models gain by the first two or three, and
// lose by more, although their layers still gain a little.
constexpr double kPerGroup = 1.025;
constexpr double kWidestLogSnr = 10;

// Rows and trajectories of a span of steps that grows and shrinks at its ends.
class RowCount {
 public:
  void add(const std::vector<int32_t>& trajectories) {
    rows_ += trajectories.size();
    for (const int32_t trajectory : trajectories) ++of_trajectory_[trajectory];
  }
  void remove(const std::vector<int32_t>& trajectories) {
    rows_ -= trajectories.size();
    for (const int32_t trajectory : trajectories) {
      const auto found = of_trajectory_.find(trajectory);
      if (--found->second == 0) of_trajectory_.erase(found);
    }
  }
  bool meets(const GroupNeeds& needs) const {
    return rows_ >= needs.rows && of_trajectory_.size() >= needs.trajectories;
  }
  GroupNeeds total() const { return {rows_, of_trajectory_.size()}; }

 private:
  size_t rows_ = 0;
  std::map<int32_t, size_t> of_trajectory_;
};

// For each first step the least end (one past the last step) of a group that meets the needs;
// steps + 1 where none does.
std::vector<size_t> least_ends(RowTrajectories rows, const GroupNeeds& needs) {
  std::vector<size_t> ends(rows.size());
  RowCount count;
  size_t end = 0;
  for (size_t begin = 0; begin < rows.size(); ++begin) {
    while (end < rows.size() && (end <= begin || !count.meets(needs))) {
      count.add(rows[end++]);
    }
    ends[begin] = count.meets(needs) ? std::max(end, begin + 1) : rows.size() + 1;
    count.remove(rows[begin]);
  }
  return ends;
}

// Sums over steps from the first one, so that any span's sum is one difference.
class PrefixSums {
 public:
  explicit PrefixSums(const CandidateCosts& layer)
      : candidates_(layer.candidates), sums_((layer.steps() + 1) * layer.candidates) {
    for (size_t i = 0; i < layer.costs.size(); ++i) {
      sums_[i + candidates_] = sums_[i] + layer.costs[i];
    }
  }

  double cost(size_t begin, size_t end, size_t candidate) const {
    return sums_[end * candidates_ + candidate] - sums_[begin * candidates_ + candidate];
  }
  size_t best(size_t begin, size_t end) const {
    size_t best = 0;
    for (size_t k = 1; k < candidates_; ++k) {
      if (cost(begin, end, k) < cost(begin, end, best)) best = k;
    }
    return best;
  }

 private:
  size_t candidates_;
  std::vector<double> sums_;
};

// costs[begin * (steps + 1) + end], over all layers.
std::vector<double> span_costs(std::span<const CandidateCosts> layers, size_t steps) {
  std::vector<double> costs((steps + 1) * (steps + 1));
  for (const CandidateCosts& layer : layers) {
    const PrefixSums sums(layer);
    const double whole = sums.cost(0, steps, sums.best(0, steps));
    if (whole <= 0) continue;
    for (size_t begin = 0; begin < steps; ++begin) {
      for (size_t end = begin + 1; end <= steps; ++end) {
        costs[begin * (steps + 1) + end] += sums.cost(begin, end, sums.best(begin, end)) / whole;
      }
    }
  }
  return costs;
}

// The cheapest grouping of each number of groups, up to max_groups or what the needs allow.
std::vector<GroupBegins> cheapest_groupings(const std::vector<double>& costs,
                                            const std::vector<size_t>& ends, size_t max_groups) {
  const size_t steps = ends.size();
  std::vector<double> before(steps + 1, kNever);  // cost of the steps before `end` in g groups
  before[0] = 0;
  std::vector<std::vector<size_t>> last_begin;  // [g][end]
  std::vector<GroupBegins> groupings;
  for (size_t g = 0; g < max_groups; ++g) {
    std::vector<double> here(steps + 1, kNever);
    last_begin.emplace_back(steps + 1);
    for (size_t begin = g; begin < steps; ++begin) {
      if (before[begin] == kNever) continue;
      for (size_t end = ends[begin]; end <= steps; ++end) {
        const double cost = before[begin] + costs[begin * (steps + 1) + end];
        if (cost < here[end]) {
          here[end] = cost;
          last_begin[g][end] = begin;
        }
      }
    }
    if (here[steps] == kNever) break;
    GroupBegins begins(g + 1);
    for (size_t i = g + 1, end = steps; i-- > 0;) {
      end = begins[i] = last_begin[i][end];
    }
    groupings.push_back(std::move(begins));
    before = std::move(here);
  }
  return groupings;
}

size_t end_of_group(std::span<const size_t> begins, size_t group, size_t steps) {
  return group + 1 < begins.size() ? begins[group + 1] : steps;
}

double cost_of_choice(const CandidateCosts& layer, std::span<const size_t> begins,
                      std::span<const size_t> candidates) {
  double cost = 0;
  for (size_t g = 0; g < begins.size(); ++g) {
    for (size_t t = begins[g]; t < end_of_group(begins, g, layer.steps()); ++t) {
      cost += layer.at(t, candidates[g]);
    }
  }
  return cost;
}

// Σ over layers of what the candidates that the layers chose cost on held-out rows.
double held_out_cost(std::span<const CandidateCosts> layers,
                     std::span<const CandidateCosts> held_out, const GroupBegins& begins) {
  const GroupBegins one_group = {0};
  double cost = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const double whole =
        cost_of_choice(held_out[l], one_group, best_candidates(layers[l], one_group));
    if (whole <= 0) continue;
    cost += cost_of_choice(held_out[l], begins, best_candidates(layers[l], begins)) / whole;
  }
  return cost;
}

}  // namespace

GroupNeeds attainable_needs(RowTrajectories rows, GroupNeeds needs) {
  RowCount all;
  for (const std::vector<int32_t>& step : rows) all.add(step);
  return {std::min(needs.rows, all.total().rows),
          std::min(needs.trajectories, all.total().trajectories)};
}

std::vector<size_t> best_candidates(const CandidateCosts& layer, std::span<const size_t> begins) {
  const PrefixSums sums(layer);
  std::vector<size_t> candidates;
  for (size_t g = 0; g < begins.size(); ++g) {
    candidates.push_back(sums.best(begins[g], end_of_group(begins, g, layer.steps())));
  }
  return candidates;
}

TimeGrouping choose_time_groups(std::span<const CandidateCosts> layers,
                                std::span<const CandidateCosts> held_out, RowTrajectories rows,
                                size_t max_groups, double least_saving, GroupNeeds needs) {
  const std::vector<GroupBegins> groupings = cheapest_groupings(
      span_costs(layers, rows.size()), least_ends(rows, attainable_needs(rows, needs)), max_groups);
  TimeGrouping chosen;
  for (const GroupBegins& begins : groupings) {
    chosen.held_out_costs.push_back(held_out_cost(layers, held_out, begins));
  }
  size_t best = 0;
  double least = kNever, charge = 1;
  for (size_t i = 0; i < groupings.size(); ++i, charge *= kPerGroup) {
    const double charged = chosen.held_out_costs[i] * charge;
    if (charged < least) {
      least = charged;
      best = i;
    }
  }
  const std::vector<double>& costs = chosen.held_out_costs;
  if (costs[best] > costs[0] * (1 - least_saving)) best = 0;
  chosen.begins = groupings[best];
  for (const CandidateCosts& layer : layers) {
    chosen.candidates.push_back(best_candidates(layer, chosen.begins));
  }
  return chosen;
}

GroupBegins uniform_time_groups(std::span<const double> log_snr, RowTrajectories rows,
                                size_t max_groups, GroupNeeds needs) {
  const size_t steps = log_snr.size();
  const std::vector<size_t> ends = least_ends(rows, attainable_needs(rows, needs));
  const auto level = [&](size_t t) {
    return std::clamp(log_snr[t], -kWidestLogSnr, kWidestLogSnr);
  };
  const double span = (level(steps - 1) - level(0)) / static_cast<double>(max_groups);
  GroupBegins begins = {0};
  for (size_t group = 1; group < max_groups; ++group) {
    size_t begin = ends[begins.back()];
    while (begin < steps && level(begin) < level(0) + span * static_cast<double>(group)) ++begin;
    // What is left must do for a group; else it belongs to the one before.
    if (begin >= steps || ends[begin] > steps) break;
    begins.push_back(begin);
  }
  return begins;
}

}  // namespace arrow_quant
