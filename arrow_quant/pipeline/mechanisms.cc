#include "arrow_quant/pipeline/mechanisms.h"

#include <algorithm>
#include <string_view>

#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {
namespace {

// Without a denoiser there are no timesteps.
Mechanism without_timesteps() {
  return {false, false, "mode is \"base\""};
}

constexpr const char* kPhases = "validation, boundary smoothing or transition optimization";
constexpr const char* kHighQuality = "quality = \"high\"";
constexpr const char* kNoData = "no calibration data";
constexpr const char* kNoActivations =
    "activation_bits is not set, and only activation parameters depend on the timestep";

// What complete() may still turn over.
Mechanism not_applied(bool asked, const std::string& why_off, const std::string& why_not) {
  return {asked, false, asked ? why_not : why_off};
}

bool any_phase(const ThermodynamicConfig& phases) {
  return phases.validation.enabled || phases.boundary_smoothing.enabled ||
         phases.transition_optimization.enabled;
}

std::string no_effect(const std::string& option, std::string_view why) {
  return option + " had no effect: " + std::string(why);
}

// What was set and changes nothing.
std::vector<std::string> warnings_of(const DiffusionQuantConfig& config,
                                     const Mechanisms& mechanisms, bool calibrated) {
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& option, std::string_view why) {
    warnings.push_back(no_effect(option, why));
  };
  const bool fixed = config.activation_mode == ActivationMode::Static;
  if (config.activation_bits && fixed && !calibrated) {
    warn("activation_bits", "activation_mode \"static\" needs calibration data");
  } else if (!config.activation_bits && fixed) {
    warn("activation_mode", "activation_bits is not set");
  }
  if (mechanisms.low_rank.asked && !mechanisms.low_rank.reason.empty()) {
    warn(kHighQuality, mechanisms.low_rank.reason);
  }
  if (any_phase(config.thermodynamic) && !mechanisms.thermodynamic.reason.empty()) {
    warn(kPhases, mechanisms.thermodynamic.reason);
  }
  return warnings;
}

}  // namespace

Mechanisms choose_mechanisms(const DiffusionQuantConfig& config,
                             const CalibrationFile* calibration) {
  const bool calibrated = calibration != nullptr;
  Mechanisms mechanisms;
  if (calibrated) mechanisms.calibration = calibration->path().string();
  const std::string no_data = calibrated ? "" : kNoData;
  const std::string no_parameters =
      calibrated && !config.activation_bits ? kNoActivations : no_data;
  mechanisms.spatial = not_applied(config.enable_spatial, "enable_spatial is off", no_data);
  if (config.mode == QuantMode::Base) {
    mechanisms.time_aware = mechanisms.thermodynamic = without_timesteps();
  } else {
    mechanisms.time_aware =
        not_applied(config.enable_time_aware, "enable_time_aware is off", no_parameters);
    mechanisms.thermodynamic = not_applied(
        any_phase(config.thermodynamic),
        "validation, boundary smoothing and transition optimization are off", no_parameters);
  }
  mechanisms.low_rank = not_applied(
      config.quality == Quality::High, "quality is \"standard\"",
      has_target(config) ? "bits are shared out by size, which its bytes would exceed" : no_data);
  mechanisms.warnings = warnings_of(config, mechanisms, calibrated);
  return mechanisms;
}

namespace {

bool any_of(const std::vector<LayerReport>& layers, bool (*holds)(const LayerReport&)) {
  return std::any_of(layers.begin(), layers.end(), holds);
}

void settle(Mechanism& mechanism, bool applied, const char* why_not) {
  if (!mechanism.asked || !mechanism.reason.empty()) return;
  mechanism.applied = applied;
  mechanism.reason = applied ? "" : why_not;
}

bool has_groups(const LayerReport& layer) {
  return layer.extras.act_groups > 1;
}

bool had_phases(const LayerReport& layer) {
  return layer.markov || std::any_of(layer.activation_steps.begin(), layer.activation_steps.end(),
                                     [](const StepReport& step) {
                                       return step.name == "boundary smoothing" ||
                                              step.name == "markov smoother" ||
                                              step.name == "transition optimization";
                                     });
}

bool was_tried(const LayerReport& layer, const char* what) {
  return std::any_of(layer.trials.begin(), layer.trials.end(), [&](const TrialReport& trial) {
    return trial.name.find(what) != trial.name.npos;
  });
}

void warn_if_idle(const Mechanism& mechanism, const char* option,
                  std::vector<std::string>& warnings) {
  if (mechanism.asked && !mechanism.applied) {
    warnings.push_back(no_effect(option, mechanism.reason));
  }
}

const char* why_no_groups(const DiffusionQuantConfig& config) {
  if (config.activation_mode == ActivationMode::Dynamic) {
    if (config.activation_bits == 8) {
      return "8 bit activations need no parameters: their ranges are taken from each row";
    }
    if (!config.enable_activation_clipping) {
      return "enable_activation_clipping is off: ranges are taken whole from each row";
    }
  }
  return "one group of timesteps serves held-out rows as well";
}

void complete_low_rank(Mechanisms& mechanisms, const std::vector<LayerReport>& layers) {
  Mechanism& low_rank = mechanisms.low_rank;
  if (!low_rank.reason.empty()) return;
  const bool tried =
      any_of(layers, [](const LayerReport& layer) { return was_tried(layer, "low rank"); });
  settle(low_rank, any_of(layers, [](const LayerReport& layer) { return layer.extras.rank > 0; }),
         tried ? "no layer's held-out error falls enough by it"
               : "it serves layers of 2 or 4 bits with XᵀX in the calibration data, within the "
                 "memory limit");
  warn_if_idle(low_rank, kHighQuality, mechanisms.warnings);
}

}  // namespace

void complete(Mechanisms& mechanisms, const DiffusionQuantConfig& config,
              const std::vector<LayerReport>& layers) {
  settle(mechanisms.time_aware, any_of(layers, has_groups), why_no_groups(config));
  const bool open = mechanisms.thermodynamic.reason.empty();
  settle(mechanisms.thermodynamic, any_of(layers, had_phases),
         "no layer has activation parameters that differ between groups of timesteps");
  if (open) warn_if_idle(mechanisms.thermodynamic, kPhases, mechanisms.warnings);
  complete_low_rank(mechanisms, layers);
  Mechanism& spatial = mechanisms.spatial;
  if (!spatial.asked) return;
  const auto tried = [](const LayerReport& layer) {
    return was_tried(layer, "hadamard") || was_tried(layer, "smoothing");
  };
  spatial.applied = any_of(layers, [](const LayerReport& layer) {
    const std::vector<std::string>& transforms = layer.extras.transforms;
    return std::any_of(transforms.begin(), transforms.end(),
                       [](const std::string& name) { return name != "low_rank"; });
  });
  if (spatial.applied) {
    spatial.reason.clear();
  } else if (mechanisms.calibration == "none") {
    return;
  } else if (std::any_of(layers.begin(), layers.end(), tried)) {
    spatial.reason = "no layer's held-out error falls enough by it";
  } else {
    spatial.reason = !config.activation_bits && config.bit_width != 2
                         ? "it serves 2 bit weights and quantized activations"
                     : !config.activation_bits && config.rotation == Rotation::Off
                         ? "rotation is \"off\""
                         : "no layer with calibration data can take it";
  }
}

}  // namespace arrow_quant
