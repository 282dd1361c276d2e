#include "arrow_quant/pipeline/plan.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/component_config.h"
#include "arrow_quant/pipeline/chunk.h"
#include "arrow_quant/quant/low_rank.h"

namespace arrow_quant {
namespace {

ModalityGuess guess_modality(const ModelDir& model, const DiffusionQuantConfig& config) {
  if (config.modality) {
    return {config.modality, "given by the caller"};
  }
  ModelClues clues;
  clues.pipeline_class = model.pipeline_class;
  for (const ModelComponent& component : model.components) {
    if (!component.class_name.empty()) {
      clues.class_names.push_back(component.class_name);
    }
    for (std::string& entry : config_scalars(component.config_json)) {
      clues.config_strings.push_back(std::move(entry));
    }
    for (const SafetensorsFile& shard : component.shards) {
      for (const TensorInfo& tensor : shard.tensors()) {
        clues.tensor_names.push_back(tensor.name);
      }
    }
  }
  return detect_modality(clues);
}

std::string part_name(size_t index, size_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "quantized-%05zu-of-%05zu.parquet", index + 1, count);
  return text;
}

PlannedComponent plan_component(const ModelComponent& component, const LayerRules& rules,
                                const DiffusionQuantConfig& config) {
  PlannedComponent planned;
  planned.source = &component;
  for (size_t shard = 0; shard < component.shards.size(); ++shard) {
    for (const TensorInfo& info : component.shards[shard].tensors()) {
      planned.tensors.push_back({shard, &info, matrix_shape(info.shape),
                                 rules.decide(info.name, info.shape, info.dtype)});
    }
  }
  assign_parts(planned, config);
  return planned;
}

// Bytes of what calibration may add to a tensor, at most: factors of a low rank, input scales.
int64_t most_extra_bytes(const PlannedTensor& tensor, const DiffusionQuantConfig& config) {
  if (!tensor.decision.bit_width) {
    return 0;
  }
  const auto [rows, cols] = tensor.view;
  const bool smoothed = config.enable_spatial && activation_bits_of(tensor, config) != 0;
  return 2 * (rows + cols) * static_cast<int64_t>(largest_rank(tensor, config)) +
         (smoothed ? 4 * cols : 0);
}

// A pattern that matches nothing is most likely misspelt.
void warn_of_unused_patterns(const std::vector<LayerRules::Pattern>& patterns, Plan& plan) {
  for (const LayerRules::Pattern& pattern : patterns) {
    const auto matches = [&](const PlannedTensor& t) { return pattern.matches(t.info->name); };
    const bool used = std::any_of(
        plan.components.begin(), plan.components.end(), [&](const PlannedComponent& component) {
          return std::any_of(component.tensors.begin(), component.tensors.end(), matches);
        });
    if (!used) {
      plan.warnings.push_back(pattern.option + ": '" + pattern.text +
                              "' matches no tensor; 'arrow-quant inspect MODEL' lists the names");
    }
  }
}

}  // namespace

void assign_parts(PlannedComponent& component, const DiffusionQuantConfig& config) {
  const int64_t limit = config.max_part_size_mb << 20;
  std::vector<PlannedPart>& parts = component.parts;
  parts.clear();
  int64_t bytes = 0;
  for (size_t i = 0; i < component.tensors.size(); ++i) {
    const PlannedTensor& tensor = component.tensors[i];
    const int64_t next = planned_bytes(tensor, tensor.decision.bit_width, config.group_size) +
                         most_extra_bytes(tensor, config);
    if (parts.empty() || (bytes > 0 && bytes + next > limit)) {
      parts.push_back({i, 0, ""});
      bytes = 0;
    }
    bytes += next;
    ++parts.back().num_tensors;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].file_name = part_name(i, parts.size());
  }
}

std::vector<BlockRange> blocks_of(const PlannedTensor& tensor, std::optional<BitWidth> width,
                                  int64_t group_size) {
  const auto cols = static_cast<size_t>(tensor.view.cols);
  uint64_t row_bytes = width ? packed_row_bytes(cols, *width) : source_row_bytes(tensor);
  if (width) {
    row_bytes = std::max<uint64_t>(row_bytes,
                                   param_row_bytes(cols, *width, static_cast<size_t>(group_size)));
  }
  const int64_t rows_per_block = static_cast<int64_t>(
      std::max<uint64_t>(1, row_bytes == 0 ? UINT32_MAX : kMaxBlockBytes / row_bytes));
  const int64_t rows = tensor.view.rows;
  std::vector<BlockRange> blocks;
  for (int64_t row = 0; row < rows; row += rows_per_block) {
    blocks.push_back({row, std::min(rows_per_block, rows - row)});
  }
  if (blocks.empty()) {
    blocks.push_back({0, 0});  // a tensor without elements is one empty row of the table
  }
  return blocks;
}

bool has_target(const DiffusionQuantConfig& config) {
  return config.target_bits_per_weight.has_value() || config.target_size_mb.has_value();
}

int64_t planned_bytes(const PlannedTensor& tensor, std::optional<BitWidth> width,
                      int64_t group_size) {
  if (!width) {
    return static_cast<int64_t>(tensor.info->size_bytes);
  }
  const size_t cols = static_cast<size_t>(tensor.view.cols);
  return tensor.view.rows *
         static_cast<int64_t>(packed_row_bytes(cols, *width) +
                              param_row_bytes(cols, *width, static_cast<size_t>(group_size)));
}

size_t largest_rank(const PlannedTensor& tensor, const DiffusionQuantConfig& config) {
  const std::optional<BitWidth> width = tensor.decision.bit_width;
  if (config.quality != Quality::High || has_target(config) || !width || *width == BitWidth::Int8) {
    return 0;
  }
  return usual_rank(static_cast<size_t>(tensor.view.rows), static_cast<size_t>(tensor.view.cols));
}

int activation_bits_of(const PlannedTensor& tensor, const DiffusionQuantConfig& config) {
  return config.activation_bits && !tensor.decision.sensitive
             ? static_cast<int>(*config.activation_bits)
             : 0;
}

ModelDirOptions model_dir_options(const DiffusionQuantConfig& config) {
  return {.components = config.components,
          .variant = config.variant,
          .all_components = config.mode == QuantMode::Base};
}

Plan make_plan(const ModelDir& model, const DiffusionQuantConfig& config) {
  const bool diffusion = config.mode == QuantMode::Diffusion;
  const BitWidth width = has_target(config)
                             ? BitWidth::Int2
                             : *bit_width_from_bits(static_cast<int>(config.bit_width));
  const LayerRules rules({.bit_width = width,
                          .modules_to_not_convert = config.modules_to_not_convert,
                          .modules_to_convert = config.modules_to_convert,
                          .layer_bit_widths = config.layer_bit_widths,
                          .diffusion_rules = diffusion});
  Plan plan;
  plan.warnings = model.warnings;
  plan.modality = guess_modality(model, config);
  if (diffusion && !plan.modality.modality) {
    plan.warnings.push_back("the modality could not be told (" + plan.modality.evidence +
                            "): the general rules apply; set it with modality=… or --modality to "
                            "text, code, image or audio");
  }
  for (const ModelComponent& component : model.components) {
    plan.components.push_back(plan_component(component, rules, config));
    for (const PlannedTensor& tensor : plan.components.back().tensors) {
      plan.source_bytes += tensor.info->size_bytes;
    }
  }
  const bool any = std::any_of(plan.components.begin(), plan.components.end(),
                               [](const PlannedComponent& c) { return !c.tensors.empty(); });
  if (!any) {
    throw Error(ErrorCode::ModelNotFound, model.root.string() + ": the model holds no tensor",
                model.root, ENOENT);
  }
  warn_of_unused_patterns(
      LayerRules::compile(config.modules_to_not_convert, "modules_to_not_convert"), plan);
  warn_of_unused_patterns(LayerRules::compile(config.modules_to_convert, "modules_to_convert"),
                          plan);
  warn_of_unused_patterns(LayerRules::compile(config.layer_bit_widths), plan);
  warn_of_unused_patterns(
      LayerRules::compile(config.modules_to_not_compensate, "modules_to_not_compensate"), plan);
  return plan;
}

}  // namespace arrow_quant
