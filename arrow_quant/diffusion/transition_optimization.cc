#include "arrow_quant/diffusion/transition_optimization.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace arrow_quant {
namespace {

constexpr double kMarkovFactors[] = {0, 1, 10, 100};
constexpr size_t kPatience = 3;  // iterations that hardly lower the loss

void add(const Slope& slope, double factor, Coordinates& gradient) {
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] += factor * slope.gradient[i];
  }
}

// Kingma and Ba 2015, with moments of 0.9 and 0.99.
class Adam {
 public:
  Adam(size_t groups, double learning_rate)
      : learning_rate_(learning_rate), mean_(groups), square_(groups) {}

  void step(std::span<const Coordinates> gradient, std::span<Coordinates> u) {
    mean_left_ *= kMean;
    square_left_ *= kSquare;
    for (size_t g = 0; g < u.size(); ++g) {
      for (size_t i = 0; i < u[g].size(); ++i) {
        const double slope = gradient[g][i];
        mean_[g][i] = kMean * mean_[g][i] + (1 - kMean) * slope;
        square_[g][i] = kSquare * square_[g][i] + (1 - kSquare) * slope * slope;
        const double root = std::sqrt(square_[g][i] / (1 - square_left_));
        u[g][i] -= learning_rate_ * mean_[g][i] / (1 - mean_left_) / (root + kTiny);
      }
    }
  }

 private:
  static constexpr double kMean = 0.9;
  static constexpr double kSquare = 0.99;
  static constexpr double kTiny = 1e-8;

  double learning_rate_;
  double mean_left_ = 1, square_left_ = 1;  // of the zeros that both began with
  std::vector<Coordinates> mean_, square_;
};

// Keeps of all iterates what is best on held-out rows.
class BestValidated {
 public:
  BestValidated(TransitionErrors groups, std::span<const Coordinates> start) : groups_(groups) {
    result_.coordinates.assign(start.begin(), start.end());
    for (size_t g = 0; g < groups.size(); ++g) {
      result_.held_out_before.push_back(groups[g]->held_out_error(start[g]).value_or(0));
    }
    result_.held_out_after = result_.held_out_before;
  }

  void offer(std::span<const Coordinates> u) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      const std::optional<double> error = groups_[g]->held_out_error(u[g]);
      if (error && *error < result_.held_out_after[g]) {
        result_.held_out_after[g] = *error;
        result_.coordinates[g] = u[g];
      }
    }
  }

  TransitionResult finish(size_t iterations) {
    result_.iterations = iterations;
    for (size_t g = 0; g < groups_.size(); ++g) {
      result_.improved_groups += result_.held_out_after[g] < result_.held_out_before[g];
    }
    return std::move(result_);
  }

 private:
  TransitionErrors groups_;
  TransitionResult result_;
};

// One descent; returns its iterations.
size_t descend(const TransitionLoss& loss, const TransitionLoss::Weights& weights,
               TransitionErrors groups, std::span<const Coordinates> start,
               const TransitionOptimizationConfig& config, BestValidated& best) {
  std::vector<Coordinates> u(start.begin(), start.end()), gradient(start.size());
  Adam adam(u.size(), config.learning_rate);
  double before = loss.evaluate(u, weights, gradient);
  size_t iterations = 0, slow = 0;
  while (iterations < static_cast<size_t>(config.max_iterations) && slow < kPatience) {
    adam.step(gradient, u);
    for (size_t g = 0; g < u.size(); ++g) u[g] = groups[g]->allowed(u[g]);
    best.offer(u);
    ++iterations;
    const double here = loss.evaluate(u, weights, gradient);
    slow = before - here < config.convergence_threshold * std::abs(before) ? slow + 1 : 0;
    before = here;
  }
  return iterations;
}

}  // namespace

TransitionLoss::TransitionLoss(TransitionErrors groups, std::span<const Coordinates> start,
                               std::span<const double> couplings)
    : groups_(groups), couplings_(couplings) {
  double whole = 0;
  for (const auto& group : groups) whole += group->weight();
  for (size_t g = 0; g < groups.size(); ++g) {
    shares_.push_back(whole > 0 ? groups[g]->weight() / whole : 0);
    start_errors_.push_back(groups[g]->error(start[g]).value);
  }
}

double TransitionLoss::evaluate(std::span<const Coordinates> u, const Weights& weights,
                                std::span<Coordinates> gradient) const {
  std::fill(gradient.begin(), gradient.end(), Coordinates{});
  double loss = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (start_errors_[g] > 0) {
      const Slope error = groups_[g]->error(u[g]);
      const double factor = shares_[g] / start_errors_[g];
      loss += factor * error.value;
      add(error, factor, gradient[g]);
    }
    if (weights.entropy > 0) {
      const Slope use = groups_[g]->code_use(u[g]);
      loss += weights.entropy * shares_[g] * (1 - use.value);
      add(use, -weights.entropy * shares_[g], gradient[g]);
    }
  }
  return loss + add_jumps(u, weights.markov, gradient);
}

double TransitionLoss::add_jumps(std::span<const Coordinates> u, double weight,
                                 std::span<Coordinates> gradient) const {
  const double whole = std::accumulate(couplings_.begin(), couplings_.end(), 0.0);
  if (!(whole > 0) || weight == 0) return 0;
  double jumps = 0;
  for (size_t g = 0; g + 1 < u.size(); ++g) {
    const double factor = weight * couplings_[g] / whole;
    for (size_t i = 0; i < u[g].size(); ++i) {
      const double jump = u[g + 1][i] - u[g][i];
      jumps += factor * jump * jump;
      gradient[g][i] -= 2 * factor * jump;
      gradient[g + 1][i] += 2 * factor * jump;
    }
  }
  return jumps;
}

TransitionResult optimize_transitions(TransitionErrors groups, std::span<const Coordinates> start,
                                      std::span<const double> couplings,
                                      const TransitionOptimizationConfig& config) {
  const TransitionLoss loss(groups, start, couplings);
  BestValidated best(groups, start);
  size_t iterations = 0;
  for (const double factor : kMarkovFactors) {
    if (factor > 0 && (config.markov_weight == 0 || couplings.empty())) break;
    const TransitionLoss::Weights weights = {factor * config.markov_weight, config.entropy_weight};
    iterations += descend(loss, weights, groups, start, config, best);
  }
  return best.finish(iterations);
}

}  // namespace arrow_quant
