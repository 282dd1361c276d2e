// ThermodynamicConfig: how far the parameters of neighbouring groups of timesteps may lie apart.
// Three phases that build on each other: measuring the jumps (validation), rounding them off
// (boundary smoothing), and choosing parameters with the jumps in the loss (transition
// optimization). Plain values; what is allowed stands with the other options.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace arrow_quant {

// From one group's parameters to the next one's, over the window around their boundary.
enum class InterpolationMethod {
  Linear,   // continuous
  Cubic,    // continuous up to the second derivative
  Sigmoid,  // slow at both ends
};
std::string_view to_string(InterpolationMethod method);  // "linear", "cubic", "sigmoid"
std::optional<InterpolationMethod> parse_interpolation_method(std::string_view name);

// How noise grows over the timesteps, for models that do not say so themselves.
enum class BetaSchedule { Linear, Cosine };
std::string_view to_string(BetaSchedule schedule);  // "linear", "cosine"
std::optional<BetaSchedule> parse_beta_schedule(std::string_view name);

// Phase 1.
struct ValidationConfig {
  bool enabled = false;
  double smoothness_threshold = 0.25;  // 0 … 1; a larger relative jump is a violation
  bool log_violations = true;

  bool operator==(const ValidationConfig&) const = default;
};

// Phase 2.
struct BoundarySmoothingConfig {
  bool enabled = false;
  int64_t window_size = 5;  // 1 … 1000 timesteps
  InterpolationMethod interpolation = InterpolationMethod::Linear;

  bool operator==(const BoundarySmoothingConfig&) const = default;
};

// Phase 3.
struct TransitionOptimizationConfig {
  bool enabled = false;
  double markov_weight = 0.1;           // ≥ 0; of the jumps in the loss
  double entropy_weight = 0.05;         // ≥ 0; of unused codes in the loss
  double learning_rate = 0.01;          // > 0
  int64_t max_iterations = 50;          // ≥ 0
  double convergence_threshold = 1e-4;  // > 0; relative decrease that ends the search
  BetaSchedule beta_schedule = BetaSchedule::Linear;

  bool operator==(const TransitionOptimizationConfig&) const = default;
};

struct ThermodynamicConfig {
  ValidationConfig validation;
  BoundarySmoothingConfig boundary_smoothing;
  TransitionOptimizationConfig transition_optimization;

  bool operator==(const ThermodynamicConfig&) const = default;
};

}  // namespace arrow_quant
