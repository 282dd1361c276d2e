#include "arrow_quant/pipeline/mechanisms.h"

#include <algorithm>
#include <string_view>

namespace arrow_quant {
namespace {

// Without a denoiser there are no timesteps.
Mechanism without_timesteps() {
  return {false, false, "mode is \"base\""};
}

Mechanism not_applied(bool asked, const std::string& why_off, bool calibrated) {
  return {asked, false,
          !asked       ? why_off
          : calibrated ? "this version uses calibration data for the weights only"
                       : "no calibration data"};
}

bool any_phase(const ThermodynamicConfig& phases) {
  return phases.validation.enabled || phases.boundary_smoothing.enabled ||
         phases.transition_optimization.enabled;
}

// What was set and changes nothing.
std::vector<std::string> warnings_of(const DiffusionQuantConfig& config,
                                     const Mechanism& thermodynamic) {
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& option, std::string_view why) {
    warnings.push_back(option + " had no effect: " + std::string(why));
  };
  if (config.activation_bits && config.activation_mode == ActivationMode::Static) {
    warn("activation_bits", "this version does not fix activation ranges; take mode \"dynamic\"");
  } else if (config.activation_mode != ActivationMode::Dynamic) {
    warn("activation_mode", "activation_bits is not set");
  }
  if (config.quality == Quality::High) {
    warn("quality = \"high\"", "this version has the standard methods only");
  }
  if (any_phase(config.thermodynamic)) {
    warn("validation, boundary smoothing or transition optimization", thermodynamic.reason);
  }
  return warnings;
}

}  // namespace

Mechanisms choose_mechanisms(const DiffusionQuantConfig& config,
                             const CalibrationFile* calibration) {
  const bool calibrated = calibration != nullptr;
  Mechanisms mechanisms;
  if (calibrated) mechanisms.calibration = calibration->path().string();
  mechanisms.spatial = not_applied(config.enable_spatial, "enable_spatial is off", calibrated);
  if (config.mode == QuantMode::Base) {
    mechanisms.time_aware = mechanisms.thermodynamic = without_timesteps();
  } else {
    mechanisms.time_aware =
        not_applied(config.enable_time_aware, "enable_time_aware is off", calibrated);
    mechanisms.thermodynamic = not_applied(
        any_phase(config.thermodynamic),
        "validation, boundary smoothing and transition optimization are off", calibrated);
  }
  mechanisms.warnings = warnings_of(config, mechanisms.thermodynamic);
  return mechanisms;
}

void complete(Mechanisms& mechanisms, const DiffusionQuantConfig& config,
              const std::vector<LayerReport>& layers) {
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
    spatial.reason = config.activation_bits || config.bit_width == 2
                         ? "no layer with calibration data can take it"
                         : "it serves 2 bit weights and quantized activations";
  }
}

}  // namespace arrow_quant
