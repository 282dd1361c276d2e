#include "arrow_quant/config/config.h"

#include "arrow_quant/config/config_fields.h"
#include "arrow_quant/config/options.h"

namespace arrow_quant {
namespace {

template <class Enum>
std::optional<Enum> parse_enumerator(std::string_view name) {
  for (const Enum value : kEnumerators<Enum>) {
    if (to_string(value) == name) {
      return value;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string_view to_string(DeploymentProfile profile) {
  switch (profile) {
    case DeploymentProfile::Edge:
      return "edge";
    case DeploymentProfile::Local:
      return "local";
    case DeploymentProfile::Cloud:
      return "cloud";
  }
  return "unknown";
}

std::optional<DeploymentProfile> parse_deployment_profile(std::string_view name) {
  return parse_enumerator<DeploymentProfile>(name);
}

std::string_view to_string(OnNonFinite choice) {
  switch (choice) {
    case OnNonFinite::Error:
      return "error";
    case OnNonFinite::Keep:
      return "keep";
  }
  return "unknown";
}

std::optional<OnNonFinite> parse_on_nonfinite(std::string_view name) {
  return parse_enumerator<OnNonFinite>(name);
}

DiffusionQuantConfig DiffusionQuantConfig::from_profile(DeploymentProfile profile) {
  DiffusionQuantConfig config;
  config.deployment_profile = profile;
  switch (profile) {
    case DeploymentProfile::Edge:
      config.bit_width = 2;
      config.group_size = 256;
      config.min_accuracy = 0.65;
      break;
    case DeploymentProfile::Local:
      break;
    case DeploymentProfile::Cloud:
      config.bit_width = 8;
      config.group_size = 64;
      config.min_accuracy = 0.95;
      break;
  }
  return config;
}

DiffusionQuantConfig DiffusionQuantConfig::from_yaml(const std::filesystem::path& path) {
  const std::vector<GivenOption> given = read_yaml_options(path);
  DiffusionQuantConfig config = apply_options(given);
  validate_options(config, given);
  return config;
}

DiffusionQuantConfig DiffusionQuantConfig::from_yaml_text(const std::string& text,
                                                          const std::string& source) {
  const std::vector<GivenOption> given = parse_yaml_options(text, source);
  DiffusionQuantConfig config = apply_options(given);
  validate_options(config, given);
  return config;
}

void DiffusionQuantConfig::validate() const {
  validate_options(*this, {});
}

}  // namespace arrow_quant
