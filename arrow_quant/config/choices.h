// The closed sets that options choose from, where no algorithm owns them.
#pragma once

#include <optional>
#include <string_view>

namespace arrow_quant {

enum class DeploymentProfile {
  Edge,   // low memory, fast inference
  Local,  // balanced
  Cloud,  // high quality
};
std::string_view to_string(DeploymentProfile profile);  // "edge", "local", "cloud"
std::optional<DeploymentProfile> parse_deployment_profile(std::string_view name);

enum class QuantMode {
  Diffusion,  // the denoiser alone, by the rules for its layers
  Base,       // any model: every weight of every component that is large enough
};
std::string_view to_string(QuantMode mode);  // "diffusion", "base"
std::optional<QuantMode> parse_quant_mode(std::string_view name);

enum class OnNonFinite {
  Error,  // a NaN or infinite weight stops the run
  Keep,   // its tensor is kept in the source's type
};
std::string_view to_string(OnNonFinite choice);  // "error", "keep"
std::optional<OnNonFinite> parse_on_nonfinite(std::string_view name);

enum class ActivationMode {
  Dynamic,  // ranges are taken from each token when the model runs
  Static,   // ranges are fixed by calibration
};
std::string_view to_string(ActivationMode mode);  // "dynamic", "static"
std::optional<ActivationMode> parse_activation_mode(std::string_view name);

enum class Quality {
  Standard,
  High,  // methods that cost much more time and need calibration data
};
std::string_view to_string(Quality quality);  // "standard", "high"
std::optional<Quality> parse_quality(std::string_view name);

enum class Compensation {
  Auto,  // codes make up for each other's errors where that lowers the held-out error
  Off,
};
std::string_view to_string(Compensation choice);  // "auto", "off"
std::optional<Compensation> parse_compensation(std::string_view name);

enum class Rotation {
  Auto,  // inputs are multiplied by a Hadamard matrix where that lowers the held-out error
  Off,
};
std::string_view to_string(Rotation choice);  // "auto", "off"
std::optional<Rotation> parse_rotation(std::string_view name);

}  // namespace arrow_quant
