#include "arrow_quant/config/config.h"

#include "arrow_quant/config/environment.h"
#include "arrow_quant/config/options.h"

namespace arrow_quant {
namespace {

DiffusionQuantConfig from_options(const std::vector<GivenOption>& yaml) {
  std::vector<GivenOption> given = environment_options();
  given.insert(given.end(), yaml.begin(), yaml.end());
  DiffusionQuantConfig config = apply_options(given);
  validate_options(config, given);
  return config;
}

}  // namespace

DiffusionQuantConfig DiffusionQuantConfig::from_profile(DeploymentProfile profile) {
  DiffusionQuantConfig config;
  config.deployment_profile = profile;
  switch (profile) {
    case DeploymentProfile::Edge:
      config.bit_width = 2;
      config.num_time_groups = 5;
      config.group_size = 256;
      config.min_accuracy = 0.65;
      config.calibration_samples = 32;
      config.enable_streaming = true;
      config.max_memory_limit_mb = 256;
      break;
    case DeploymentProfile::Local:
      break;
    case DeploymentProfile::Cloud:
      config.bit_width = 8;
      config.num_time_groups = 20;
      config.group_size = 64;
      config.min_accuracy = 0.95;
      config.calibration_samples = 512;
      config.max_memory_limit_mb = 4096;
      break;
  }
  return config;
}

DiffusionQuantConfig DiffusionQuantConfig::from_yaml(const std::filesystem::path& path) {
  return from_options(read_yaml_options(path));
}

DiffusionQuantConfig DiffusionQuantConfig::from_yaml_text(const std::string& text,
                                                          const std::string& source) {
  return from_options(parse_yaml_options(text, source));
}

void DiffusionQuantConfig::validate() const {
  validate_options(*this, {});
}

}  // namespace arrow_quant
