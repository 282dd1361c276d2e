// DiffusionQuantConfig: everything a caller can choose about a run.
//
// Each option is written once, in visit_fields (config_fields.h): YAML, keyword arguments, flags,
// the environment, the manifest and the documentation follow from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/config/choices.h"
#include "arrow_quant/diffusion/modality.h"
#include "arrow_quant/diffusion/thermodynamic.h"
#include "arrow_quant/quant/bit_width.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

// Names or patterns with a number each, in the order in which they were given.
using NamedInts = std::vector<std::pair<std::string, int64_t>>;

struct DiffusionQuantConfig {
  int64_t bit_width = 4;             // 2, 4 or 8
  std::optional<Modality> modality;  // unset: detected
  int64_t num_time_groups = 10;      // 1 … 1000
  int64_t group_size = 128;          // 32, 64, 128 or 256
  bool enable_time_aware = true;
  bool enable_spatial = true;
  double min_accuracy = 0.85;         // 0 … 1; cosine below which a layer gets more bits
  int64_t calibration_samples = 128;  // ≥ 1
  DeploymentProfile deployment_profile = DeploymentProfile::Local;
  bool fail_fast = false;   // stop at the first layer below min_accuracy
  int64_t num_threads = 0;  // 0 … 1024; 0: what affinity and cgroup limits allow
  bool enable_streaming = false;
  int64_t max_memory_limit_mb = 1024;  // ≥ 1, in MiB
  ThermodynamicConfig thermodynamic;
  std::optional<std::string> calibration_path;  // unset: no calibration data
  std::optional<int64_t> activation_bits;       // 4 or 8; unset: activations stay as they are
  ActivationMode activation_mode = ActivationMode::Dynamic;
  bool enable_activation_clipping = true;
  Quality quality = Quality::Standard;
  Compensation compensation = Compensation::Auto;
  Rotation rotation = Rotation::Auto;
  std::vector<std::string> modules_to_not_compensate;  // substrings or "re:" expressions
  QuantMode mode = QuantMode::Diffusion;
  QuantMethod method = QuantMethod::Mse;
  double error_norm = 3.0;                          // the p of Mse: 2, 2.5, 3 or 4
  std::vector<std::string> components;              // empty: the denoiser, or all in mode Base
  std::vector<std::string> modules_to_not_convert;  // substrings or "re:" expressions
  std::vector<std::string> modules_to_convert;      // the same; wins over the built-in rules
  // Regular expressions → 2, 4, 8 or 16 (kept); the first that is found in a layer's name counts.
  NamedInts layer_bit_widths;
  // Unset: bit_width for all. Else the bits of each layer follow from its measured error, so that
  // they come to no more than so many bits per weight, or so many 10⁶ bytes of part files.
  std::optional<double> target_bits_per_weight;
  std::optional<double> target_size_mb;
  OnNonFinite on_nonfinite = OnNonFinite::Error;
  std::optional<std::string> variant;  // "fp16": take model.fp16.safetensors
  int64_t max_part_size_mb = 2048;     // 1 … 1048576; output of one part file, in MiB
  bool overwrite = false;              // replace what stands at the output path

  bool operator==(const DiffusionQuantConfig&) const = default;

  // What the profile says, else the defaults. The environment is not asked.
  static DiffusionQuantConfig from_profile(DeploymentProfile profile);
  // A mapping from field names to values. What the file does not say comes from the environment
  // (environment.h), then from the profile.
  // Throws: Error(Io); Error(Configuration) naming key, line, value and what is allowed.
  static DiffusionQuantConfig from_yaml(const std::filesystem::path& path);
  // The same from text; `source` names it in messages.
  static DiffusionQuantConfig from_yaml_text(const std::string& text, const std::string& source);

  // Every option with its value, so that from_yaml gives an equal config. The file appears whole
  // or not at all. Throws: Error(Io); what validate() throws; Error(Configuration) for text that
  // is not UTF-8.
  void to_yaml(const std::filesystem::path& path) const;
  std::string to_yaml_text() const;

  // Throws: Error(InvalidBitWidth), Error(Configuration) naming the field, its value and what is
  // allowed.
  void validate() const;
};

}  // namespace arrow_quant
