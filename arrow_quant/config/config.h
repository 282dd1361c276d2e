// DiffusionQuantConfig: everything a caller can choose about a run.
//
// Each option is written once, in visit_fields (config_fields.h): YAML, keyword arguments, flags
// and the manifest follow from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/diffusion/modality.h"
#include "arrow_quant/quant/bit_width.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

enum class DeploymentProfile {
  Edge,   // low memory: 2 bits, groups of 256
  Local,  // balanced: 4 bits, groups of 128
  Cloud,  // high quality: 8 bits, groups of 64
};
std::string_view to_string(DeploymentProfile profile);  // "edge", "local", "cloud"
std::optional<DeploymentProfile> parse_deployment_profile(std::string_view name);

enum class OnNonFinite {
  Error,  // a NaN or infinite weight stops the run
  Keep,   // its tensor is kept in the source's type
};
std::string_view to_string(OnNonFinite choice);  // "error", "keep"
std::optional<OnNonFinite> parse_on_nonfinite(std::string_view name);

struct DiffusionQuantConfig {
  int64_t bit_width = 4;             // 2, 4 or 8
  std::optional<Modality> modality;  // unset: detected
  int64_t group_size = 128;          // 32, 64, 128 or 256
  double min_accuracy = 0.85;        // 0 … 1; cosine below which a layer gets more bits
  DeploymentProfile deployment_profile = DeploymentProfile::Local;
  bool fail_fast = false;   // stop at the first layer below min_accuracy
  int64_t num_threads = 0;  // 0 … 1024; 0: what affinity and cgroup limits allow
  QuantMethod method = QuantMethod::Mse;
  double error_norm = 3.0;                          // the p of Mse: 2, 2.5, 3 or 4
  std::vector<std::string> components;              // empty: the denoiser
  std::vector<std::string> modules_to_not_convert;  // substrings or "re:" expressions
  std::vector<std::string> modules_to_convert;      // the same; wins over the built-in rules
  OnNonFinite on_nonfinite = OnNonFinite::Error;
  std::optional<std::string> variant;  // "fp16": take model.fp16.safetensors
  int64_t max_part_size_mb = 2048;     // 1 … 1048576; output of one part file, in MiB
  bool overwrite = false;              // replace what stands at the output path

  bool operator==(const DiffusionQuantConfig&) const = default;

  // The defaults of a profile: bit_width, group_size, min_accuracy.
  static DiffusionQuantConfig from_profile(DeploymentProfile profile);
  // A mapping from field names to values; "deployment_profile" sets the defaults of the others.
  // Throws: Error(Io); Error(Configuration) naming key, line, value and what is allowed.
  static DiffusionQuantConfig from_yaml(const std::filesystem::path& path);
  // The same from text; `source` names it in messages.
  static DiffusionQuantConfig from_yaml_text(const std::string& text, const std::string& source);

  // Throws: Error(InvalidBitWidth), Error(Configuration) naming the field, its value and what is
  // allowed.
  void validate() const;
};

}  // namespace arrow_quant
