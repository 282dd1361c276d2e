// The options of ThermodynamicConfig, a part of the one list in config_fields.h. Each has a flat
// name of its own, and a path that says where it stands in the structs.
#pragma once

#include "arrow_quant/config/field_info.h"

namespace arrow_quant {

template <class Config, class Visitor>
void visit_validation_fields(Config& config, Visitor&& visit) {
  visit(FieldInfo{.name = "enable_markov_validation",
                  .path = "thermodynamic.validation.enabled",
                  .flags = "--markov-validation",
                  .doc = "phase 1: measure how far parameters jump between groups of timesteps"},
        config.enabled);
  visit(FieldInfo{.name = "smoothness_threshold",
                  .path = "thermodynamic.validation.smoothness_threshold",
                  .flags = "--smoothness-threshold",
                  .doc = "relative jump above which two groups violate the constraint",
                  .min = 0,
                  .max = 1},
        config.smoothness_threshold);
  visit(FieldInfo{.name = "log_violations",
                  .path = "thermodynamic.validation.log_violations",
                  .flags = "--log-violations",
                  .doc = "log each violation",
                  .changes_output = false},
        config.log_violations);
}

template <class Config, class Visitor>
void visit_smoothing_fields(Config& config, Visitor&& visit) {
  visit(FieldInfo{.name = "enable_boundary_smoothing",
                  .path = "thermodynamic.boundary_smoothing.enabled",
                  .flags = "--boundary-smoothing",
                  .doc = "phase 2: interpolate parameters around boundaries of groups"},
        config.enabled);
  visit(FieldInfo{.name = "window_size",
                  .path = "thermodynamic.boundary_smoothing.window_size",
                  .flags = "--window-size",
                  .doc = "timesteps around a boundary over which parameters are interpolated",
                  .min = 1,
                  .max = 1000},
        config.window_size);
  visit(FieldInfo{.name = "interpolation",
                  .path = "thermodynamic.boundary_smoothing.interpolation",
                  .flags = "--interpolation",
                  .doc = "the curve from one group's parameters to the next one's"},
        config.interpolation);
}

template <class Config, class Visitor>
void visit_transition_fields(Config& config, Visitor&& visit) {
  visit(FieldInfo{.name = "enable_transition_optimization",
                  .path = "thermodynamic.transition_optimization.enabled",
                  .flags = "--transition-optimization",
                  .doc = "phase 3: choose the parameters of all groups together"},
        config.enabled);
  visit(FieldInfo{.name = "markov_weight",
                  .path = "thermodynamic.transition_optimization.markov_weight",
                  .flags = "--markov-weight",
                  .doc = "weight of jumps between groups in the loss of phase 3",
                  .min = 0},
        config.markov_weight);
  visit(FieldInfo{.name = "entropy_weight",
                  .path = "thermodynamic.transition_optimization.entropy_weight",
                  .flags = "--entropy-weight",
                  .doc = "weight of unused codes in the loss of phase 3",
                  .min = 0},
        config.entropy_weight);
  visit(FieldInfo{.name = "learning_rate",
                  .path = "thermodynamic.transition_optimization.learning_rate",
                  .flags = "--learning-rate",
                  .doc = "step of the gradient descent of phase 3",
                  .min = 0,
                  .above_min = true},
        config.learning_rate);
  visit(FieldInfo{.name = "max_iterations",
                  .path = "thermodynamic.transition_optimization.max_iterations",
                  .flags = "--max-iterations",
                  .doc = "most iterations of phase 3",
                  .min = 0},
        config.max_iterations);
  visit(FieldInfo{.name = "convergence_threshold",
                  .path = "thermodynamic.transition_optimization.convergence_threshold",
                  .flags = "--convergence-threshold",
                  .doc = "relative decrease of the loss below which phase 3 ends",
                  .min = 0,
                  .above_min = true},
        config.convergence_threshold);
  visit(FieldInfo{.name = "beta_schedule",
                  .path = "thermodynamic.transition_optimization.beta_schedule",
                  .flags = "--beta-schedule",
                  .doc = "how noise grows over the timesteps, where the model does not say it"},
        config.beta_schedule);
}

}  // namespace arrow_quant
