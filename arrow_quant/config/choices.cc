#include "arrow_quant/config/choices.h"

#include "arrow_quant/core/enum_names.h"

namespace arrow_quant {
namespace {

constexpr std::array<std::string_view, 3> kProfiles = {"edge", "local", "cloud"};
constexpr std::array<std::string_view, 2> kModes = {"diffusion", "base"};
constexpr std::array<std::string_view, 2> kOnNonFinite = {"error", "keep"};
constexpr std::array<std::string_view, 2> kActivationModes = {"dynamic", "static"};
constexpr std::array<std::string_view, 2> kQualities = {"standard", "high"};
constexpr std::array<std::string_view, 2> kAutoOrOff = {"auto", "off"};

}  // namespace

std::string_view to_string(DeploymentProfile profile) {
  return enum_name(kProfiles, profile);
}

std::optional<DeploymentProfile> parse_deployment_profile(std::string_view name) {
  return enum_value<DeploymentProfile>(kProfiles, name);
}

std::string_view to_string(QuantMode mode) {
  return enum_name(kModes, mode);
}

std::optional<QuantMode> parse_quant_mode(std::string_view name) {
  return enum_value<QuantMode>(kModes, name);
}

std::string_view to_string(OnNonFinite choice) {
  return enum_name(kOnNonFinite, choice);
}

std::optional<OnNonFinite> parse_on_nonfinite(std::string_view name) {
  return enum_value<OnNonFinite>(kOnNonFinite, name);
}

std::string_view to_string(ActivationMode mode) {
  return enum_name(kActivationModes, mode);
}

std::optional<ActivationMode> parse_activation_mode(std::string_view name) {
  return enum_value<ActivationMode>(kActivationModes, name);
}

std::string_view to_string(Quality quality) {
  return enum_name(kQualities, quality);
}

std::optional<Quality> parse_quality(std::string_view name) {
  return enum_value<Quality>(kQualities, name);
}

std::string_view to_string(Compensation choice) {
  return enum_name(kAutoOrOff, choice);
}

std::optional<Compensation> parse_compensation(std::string_view name) {
  return enum_value<Compensation>(kAutoOrOff, name);
}

std::string_view to_string(Rotation choice) {
  return enum_name(kAutoOrOff, choice);
}

std::optional<Rotation> parse_rotation(std::string_view name) {
  return enum_value<Rotation>(kAutoOrOff, name);
}

}  // namespace arrow_quant
