// Estimates from few rows, steadied by their neighbours in time: the most probable sequence when
// the true one walks at random, u_{t+1} = u_t + noise, the steadier the more of the state survives:
//   minimise Σ_t n_t/n̄ ‖u_t − mean_t‖² + rho Σ_t coupling_t ‖u_{t+1} − u_t‖²
// rho = (variance of a row) / (n̄ · variance of a step of the walk), n̄ the mean of the counts. One
// tridiagonal system for all values of u.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace arrow_quant {

// Values of a sequence: row-major [steps][values].
struct TimeSequence {
  std::vector<double> values;
  size_t steps = 0;

  size_t width() const { return steps == 0 ? 0 : values.size() / steps; }
  std::span<const double> at(size_t step) const {
    return std::span(values).subspan(step * width(), width());
  }
  std::span<double> at(size_t step) { return std::span(values).subspan(step * width(), width()); }
};

// The minimum. counts: rows behind each mean, ≥ 0, at least one > 0. couplings: of neighbours, in
// (0, 1]. rho ≥ 0; 0 returns the means. A step without rows takes what lies between its neighbours,
// whatever its mean says. Cost: O(steps · values).
TimeSequence smooth_over_time(const TimeSequence& means, std::span<const double> counts,
                              std::span<const double> couplings, double rho);

inline constexpr std::array<double, 4> kSmoothings = {0, 1, 5, 25};  // of rho

// What one trajectory says: sums of its rows at each step, and how many there were.
struct TrajectorySums {
  TimeSequence sums;
  std::vector<double> counts;
};

// The rho of kSmoothings that predicts best the means of a trajectory from all others, each left
// out in turn: least Σ n ‖u_t − mean of the one left out‖². Of equal ones the smaller. 0 for a
// single trajectory, which nothing can be compared with.
double choose_smoothing(std::span<const TrajectorySums> trajectories,
                        std::span<const double> couplings);

}  // namespace arrow_quant
