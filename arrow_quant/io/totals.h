// Figures over all layers of a quantized model, from the records of its tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrow_quant/io/layer_report.h"
#include "arrow_quant/io/manifest.h"

namespace arrow_quant {

struct Totals {
  int64_t num_params = 0;
  int64_t num_quantized = 0;
  int64_t num_kept = 0;
  int64_t source_bytes = 0;
  int64_t stored_bytes = 0;          // codes, parameters and kept bytes
  int64_t part_bytes = 0;            // of the part files
  double bits_per_weight = 0;        // stored bits of quantized layers; 0 if there are none
  double bits_per_weight_model = 0;  // bits of the part files over all parameters
  double compression_ratio = 0;      // source bytes / bytes of the part files
  double cosine_similarity = 1;      // mean over measured layers
  double worst_cosine_similarity = 1;
  std::string worst_layer;
  double sqnr_db = 0;           // mean over quantized layers where it is finite
  int commonest_bit_width = 0;  // of most quantized weights; 0 if there are none
};

// part_bytes: size of the part files.
Totals add_up(const std::vector<LayerReport>& layers, int64_t part_bytes);

std::vector<LayerReport> layers_of(const std::vector<ComponentRecord>& components);
int64_t part_bytes_of(const std::vector<ComponentRecord>& components);

}  // namespace arrow_quant
