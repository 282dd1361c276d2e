#include "arrow_quant/diffusion/markov_smoother.h"

#include <algorithm>
#include <numeric>

namespace arrow_quant {
namespace {

// Enough to reach steps that have no rows, too little to be seen where there are some.
constexpr double kFaintest = 1e-9;

void add(const TrajectorySums& trajectory, double sign, TrajectorySums& all) {
  for (size_t i = 0; i < all.sums.values.size(); ++i) {
    all.sums.values[i] += sign * trajectory.sums.values[i];
  }
  for (size_t t = 0; t < all.counts.size(); ++t) {
    all.counts[t] += sign * trajectory.counts[t];
  }
}

TimeSequence means_of(const TrajectorySums& trajectory) {
  TimeSequence means = trajectory.sums;
  for (size_t t = 0; t < means.steps; ++t) {
    const double count = trajectory.counts[t];
    for (double& value : means.at(t)) {
      value = count > 0 ? value / count : 0;
    }
  }
  return means;
}

// Σ n ‖u_t − mean of the trajectory‖²; the spread within the mean is the same for all u.
double misfit(const TimeSequence& u, const TrajectorySums& trajectory) {
  const TimeSequence means = means_of(trajectory);
  double sum = 0;
  for (size_t t = 0; t < u.steps; ++t) {
    double distance = 0;
    for (size_t i = 0; i < u.width(); ++i) {
      const double difference = u.at(t)[i] - means.at(t)[i];
      distance += difference * difference;
    }
    sum += trajectory.counts[t] * distance;
  }
  return sum;
}

}  // namespace

TimeSequence smooth_over_time(const TimeSequence& means, std::span<const double> counts,
                              std::span<const double> couplings, double rho) {
  const size_t steps = means.steps;
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  const bool has_gaps = std::find(counts.begin(), counts.end(), 0.0) != counts.end();
  if (rho <= 0 && !has_gaps) return means;
  const double strength = std::max(rho, has_gaps ? kFaintest : 0.0);

  const auto weight = [&](size_t t) { return counts[t] * static_cast<double>(steps) / sum; };
  const auto spring = [&](size_t t) { return t + 1 < steps ? strength * couplings[t] : 0.0; };
  TimeSequence u = means;
  // Forwards: u_t becomes the best value from the steps up to t alone, held there with the force
  // of their weights and of the springs in a row. Nothing is subtracted, so no digits are lost.
  std::vector<double> share(steps);  // of u_{t+1} in u_t, once it is known
  double pull = 0;                   // of the steps before
  for (size_t t = 0; t < steps; ++t) {
    const double force = weight(t) + pull;
    for (size_t i = 0; i < u.width() && force > 0; ++i) {
      const double before = t > 0 ? pull * u.at(t - 1)[i] : 0.0;
      u.at(t)[i] = (weight(t) * means.at(t)[i] + before) / force;
    }
    const double both = force + spring(t);
    share[t] = both > 0 ? spring(t) / both : 0;
    pull = share[t] * force;
  }
  for (size_t t = steps - 1; t-- > 0;) {
    for (size_t i = 0; i < u.width(); ++i) {
      u.at(t)[i] += share[t] * (u.at(t + 1)[i] - u.at(t)[i]);
    }
  }
  return u;
}

double choose_smoothing(std::span<const TrajectorySums> trajectories,
                        std::span<const double> couplings) {
  if (trajectories.size() < 2) return 0;
  TrajectorySums all = trajectories[0];
  for (const TrajectorySums& trajectory : trajectories.subspan(1)) {
    add(trajectory, 1, all);
  }
  std::array<double, kSmoothings.size()> misfits = {};
  for (const TrajectorySums& left_out : trajectories) {
    TrajectorySums others = all;
    add(left_out, -1, others);
    if (std::none_of(others.counts.begin(), others.counts.end(), [](double n) { return n > 0; })) {
      continue;
    }
    const TimeSequence means = means_of(others);
    for (size_t i = 0; i < kSmoothings.size(); ++i) {
      misfits[i] +=
          misfit(smooth_over_time(means, others.counts, couplings, kSmoothings[i]), left_out);
    }
  }
  return kSmoothings[static_cast<size_t>(std::min_element(misfits.begin(), misfits.end()) -
                                         misfits.begin())];
}

}  // namespace arrow_quant
