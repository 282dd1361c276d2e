// What a run tells its caller: totals, every layer, every decision.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/io/allocation.h"
#include "arrow_quant/io/layer_report.h"
#include "arrow_quant/pipeline/mechanisms.h"

namespace arrow_quant {

// Phase 1 of the thermodynamic constraints: how far the activation parameters of neighbouring
// groups of timesteps lie apart, over all layers that have some.
struct MarkovReport {
  double score = 1;  // mean over the layers
  double largest_jump = 0;
  double smoothness_threshold = 0;
  std::vector<std::pair<std::string, MarkovDiagnosis>> layers;  // by "component/name" or name
};

struct QuantizationResult {
  std::filesystem::path quantized_path;
  double compression_ratio = 0;  // source bytes of all tensors / bytes of the part files
  double cosine_similarity = 0;  // mean over quantized layers; 1 if there are none
  double worst_cosine_similarity = 0;
  std::string worst_layer;
  double sqnr_db = 0;        // mean over quantized layers with finite values
  double model_size_mb = 0;  // bytes of the part files / 1e6
  std::string modality;      // "unknown" if it could not be told
  std::string modality_evidence;
  int bit_width = 0;  // as asked; under a target the one of most quantized weights
  double quantization_time_s = 0;
  double flush_time_s = 0;     // of it, spent in flushing to disk (by all runs of the process)
  double bits_per_weight = 0;  // stored bits of quantized layers, parameters included
  double bits_per_weight_model = 0;  // bits of the part files over all parameters
  int64_t num_quantized = 0;
  int64_t num_kept = 0;
  double peak_memory_mb = 0;  // peak resident memory of the process, MiB
  std::vector<LayerReport> layers;
  std::vector<Promotion> promotions;
  std::optional<Allocation> allocation;  // where a target was given
  Mechanisms mechanisms;
  std::optional<MarkovReport> markov;  // where phase 1 took part
  std::vector<std::string> warnings;   // those of the mechanisms among them
  bool resumed = false;                // parts of an earlier, unfinished run were used
  bool up_to_date = false;             // the output was there and verified; nothing was written
};

struct LayerValidation {
  std::string name;
  std::string component;
  std::string quant_type;
  double cosine_similarity = 0;
  double sqnr_db = 0;
  double max_abs_error = 0;
};

// A tensor that is not on both sides, or not of the same shape.
struct TensorMismatch {
  std::string name;
  std::string problem;  // "missing", "extra", or both shapes in words
};

struct ValidationResult {
  double cosine_similarity = 0;  // mean over quantized tensors
  double worst_cosine_similarity = 0;
  std::string worst_layer;
  double sqnr_db = 0;
  double compression_ratio = 0;
  double model_size_mb = 0;
  double min_accuracy = 0;  // as recorded in the manifest
  bool passed = false;
  std::vector<LayerValidation> layers;  // the quantized ones
  std::vector<TensorMismatch> mismatches;
};

}  // namespace arrow_quant
