#include "arrow_quant/pipeline/mechanisms.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

void check_calibration_path(const DiffusionQuantConfig& config) {
  std::error_code ignored;
  if (config.calibration_path && !std::filesystem::exists(*config.calibration_path, ignored)) {
    throw Error(ErrorCode::Configuration,
                "calibration_path = \"" + *config.calibration_path +
                    "\": there is no such file; name one that holds calibration data, or leave the "
                    "option out");
  }
}

// Without a denoiser there are no timesteps.
Mechanism without_timesteps() {
  return {false, false, "mode is \"base\""};
}

Mechanism not_applied(bool asked, const std::string& why_off, const DiffusionQuantConfig& config) {
  return {asked, false,
          !asked                    ? why_off
          : config.calibration_path ? "this version does not use calibration data"
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
  if (config.calibration_path) {
    warn("calibration_path", "this version does not use calibration data");
  }
  if (config.activation_bits) {
    warn("activation_bits", "this version quantizes weights only");
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

Mechanisms choose_mechanisms(const DiffusionQuantConfig& config) {
  check_calibration_path(config);
  Mechanisms mechanisms;
  mechanisms.spatial = not_applied(config.enable_spatial, "enable_spatial is off", config);
  if (config.mode == QuantMode::Base) {
    mechanisms.time_aware = mechanisms.thermodynamic = without_timesteps();
  } else {
    mechanisms.time_aware =
        not_applied(config.enable_time_aware, "enable_time_aware is off", config);
    mechanisms.thermodynamic =
        not_applied(any_phase(config.thermodynamic),
                    "validation, boundary smoothing and transition optimization are off", config);
  }
  mechanisms.warnings = warnings_of(config, mechanisms.thermodynamic);
  return mechanisms;
}

}  // namespace arrow_quant
