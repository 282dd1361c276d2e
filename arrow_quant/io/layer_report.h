// LayerReport and Promotion: what is known of each tensor of a quantized model, as the manifest
// records it and as results hand it out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/diffusion/markov.h"

namespace arrow_quant {

// A way to quantize a layer that was tried on held-out rows.
struct TrialReport {
  std::string name;  // the method that it would be
  double error = 0;  // of the outputs, relative: Σ(y − y')² / Σy², mean over steps
  bool accepted = false;
};

// A step that was taken on a layer's activation parameters where held-out rows confirmed it.
struct StepReport {
  std::string name;
  double error_before = 0;  // of the outputs on held-out rows that quantizing the inputs makes
  double error_after = 0;
  bool accepted = false;
};

// What a tensor has beside codes and parameters, in short; see io/block_extras.h. Nothing in most.
struct LayerExtras {
  std::vector<std::string> transforms;  // in the order in which a reader undoes them
  int hadamard_block = 0;
  int rank = 0;
  int bias_groups = 0;   // of timesteps; 0: no corrections
  int act_bits = 0;      // 0: inputs are not quantized
  std::string act_mode;  // "", "dynamic", "static"
  int act_groups = 0;    // of timesteps

  bool operator==(const LayerExtras&) const = default;
};

// One tensor of a quantized model.
struct LayerReport {
  std::string name;
  std::string component;
  std::vector<int64_t> shape;
  std::string dtype;       // of the source
  std::string quant_type;  // "int2", "int4", "int8", "none"
  int bit_width = 0;       // stored bits of a code; kept: of the source's type
  int group_size = 0;
  int64_t num_params = 0;
  int64_t source_bytes = 0;
  int64_t stored_bytes = 0;  // codes + scales + offsets + extras
  // Over the whole tensor; unset where kept.
  std::optional<double> cosine_similarity, sqnr_db, max_abs_error;
  std::string reason;  // why kept, or why not the asked bits; "" otherwise
  std::string method;  // how the codes were found; "" where kept
  // With calibration data: of the layer's outputs on held-out rows, as deployed.
  std::optional<double> output_sqnr_db;
  std::vector<TrialReport> trials;
  // Where its inputs are quantized by parameters from calibration data.
  std::vector<StepReport> activation_steps;
  std::optional<MarkovDiagnosis> markov;  // of these parameters; where phase 1 was on
  LayerExtras extras;
};

// A layer that min_accuracy gave more bits than asked.
struct Promotion {
  std::string name;
  int from_bits = 0;
  int to_bits = 0;  // 16 and more: kept
  double accuracy_before = 0;
  double accuracy_after = 0;  // 1 where kept
  int64_t extra_bytes = 0;
};

}  // namespace arrow_quant
