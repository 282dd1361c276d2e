// inspect: what is in a model, source or quantized, without reading a weight. For a source it is
// the plan that quantize_model would follow.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/io/time_groups.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant {

struct ComponentInspection {
  std::string name;
  std::optional<TimeGroups> time_groups;
};

struct ModelInspection {
  std::string kind;  // "source" or "quantized"
  std::filesystem::path path;
  std::string modality;  // "unknown" if it cannot be told
  std::string modality_evidence;
  int64_t num_params = 0;
  int64_t source_bytes = 0;
  int64_t stored_bytes = 0;    // of a source: as planned
  double bits_per_weight = 0;  // of the quantized layers
  double bits_per_weight_model = 0;
  std::vector<ComponentInspection> components;
  std::vector<LayerReport> layers;  // metrics unset for a source
  std::vector<std::string> warnings;
};

// config: the options that the plan of a source follows.
ModelInspection inspect_model(const std::filesystem::path& path,
                              const DiffusionQuantConfig& config = {});

}  // namespace arrow_quant
