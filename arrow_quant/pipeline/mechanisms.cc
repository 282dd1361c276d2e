#include "arrow_quant/pipeline/mechanisms.h"

#include <algorithm>
#include <string_view>

namespace arrow_quant {
namespace {

// Without a denoiser there are no timesteps.
Mechanism without_timesteps() {
  return {false, false, "mode is \"base\""};
}

constexpr const char* kPhases = "validation, boundary smoothing or transition optimization";
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
                                     const Mechanism& thermodynamic, bool calibrated) {
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
  if (config.quality == Quality::High) {
    warn("quality = \"high\"", "this version has the standard methods only");
  }
  if (any_phase(config.thermodynamic) && !thermodynamic.reason.empty()) {
    warn(kPhases, thermodynamic.reason);
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
  mechanisms.warnings = warnings_of(config, mechanisms.thermodynamic, calibrated);
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
  return layer.extras.act_groups > 1 || layer.extras.act_mode == "static";
}

bool had_phases(const LayerReport& layer) {
  return layer.markov || std::any_of(layer.activation_steps.begin(), layer.activation_steps.end(),
                                     [](const StepReport& step) {
                                       return step.name == "boundary smoothing" ||
                                              step.name == "markov smoother" ||
                                              step.name == "transition optimization";
                                     });
}

}  // namespace

void complete(Mechanisms& mechanisms, const DiffusionQuantConfig& config,
              const std::vector<LayerReport>& layers) {
  const bool ranged = config.activation_mode == ActivationMode::Dynamic && config.activation_bits &&
                      *config.activation_bits == 8;
  settle(mechanisms.time_aware, any_of(layers, has_groups),
         ranged ? "8 bit activations need no parameters: their ranges are taken from each row"
                : "one group of timesteps serves held-out rows as well");
  const bool open = mechanisms.thermodynamic.reason.empty();
  settle(mechanisms.thermodynamic, any_of(layers, had_phases),
         "no layer has activation parameters that differ between groups of timesteps");
  if (open && mechanisms.thermodynamic.asked && !mechanisms.thermodynamic.applied) {
    mechanisms.warnings.push_back(no_effect(kPhases, mechanisms.thermodynamic.reason));
  }
  Mechanism& spatial = mechanisms.spatial;
  if (!spatial.asked) return;
  const auto tried = [](const LayerReport& layer) {
    return std::any_of(layer.trials.begin(), layer.trials.end(), [](const TrialReport& trial) {
      return trial.name.find("hadamard") != trial.name.npos ||
             trial.name.find("smoothing") != trial.name.npos;
    });
  };
  spatial.applied = std::any_of(layers.begin(), layers.end(), [](const LayerReport& layer) {
    return !layer.extras.transforms.empty();
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
