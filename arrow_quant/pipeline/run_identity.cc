#include "arrow_quant/pipeline/run_identity.h"

#include <algorithm>
#include <map>

#include "arrow_quant/config/options.h"
#include "arrow_quant/core/version.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/pipeline/output_dir.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

std::string modality_name(const Plan& plan) {
  return plan.modality.modality ? std::string(to_string(*plan.modality.modality)) : "unknown";
}

// The options that can change the output's bytes.
std::map<std::string, OptionValue> output_options(const DiffusionQuantConfig& config) {
  std::map<std::string, OptionValue> options;
  for (const FieldDoc& field : config_field_docs()) {
    if (field.changes_output) {
      options[field.name] = config_get(config, field.name);
    }
  }
  return options;
}

fs::path source_root(const ModelDir& model) {
  return model.layout == ModelLayout::SingleFile ? fs::absolute(model.root).parent_path()
                                                 : model.root;
}

}  // namespace

Manifest begin_manifest(const ModelDir& model, const Plan& plan,
                        const DiffusionQuantConfig& config) {
  Manifest manifest;
  manifest.tool_version = kVersion;
  manifest.options = output_options(config);
  manifest.modality = modality_name(plan);
  manifest.modality_evidence = plan.modality.evidence;
  manifest.min_accuracy = config.min_accuracy;
  for (const SkippedFile& file : model.skipped) {
    manifest.skipped_files.push_back({file.path.string(), file.reason});
  }
  manifest.warnings = plan.warnings;
  return manifest;
}

std::string fingerprint_of(const Manifest& manifest, const Plan& plan) {
  Xxh3_128 hash;
  const auto add = [&](const std::string& text) {
    hash.update({reinterpret_cast<const uint8_t*>(text.data()), text.size() + 1});
  };
  add(to_json(manifest));
  for (const PlannedComponent& component : plan.components) {
    add(component.source->subdir.string());
    add(component.source->config_json);
    for (const PlannedTensor& tensor : component.tensors) {
      add(tensor.info->name);
      add(std::to_string(tensor.shard) + " " + std::to_string(tensor.info->begin) + " " +
          std::to_string(tensor.info->size_bytes) + " " +
          std::string(to_string(tensor.info->dtype)));
      add(std::to_string(tensor.decision.bit_width ? bits_of(*tensor.decision.bit_width) : 0));
      for (const int64_t size : tensor.info->shape) {
        add(std::to_string(size));
      }
    }
  }
  return hash.hex_digest();
}

std::string why_not_up_to_date(const Manifest& finished, const Manifest& wanted,
                               const ModelDir& model, const fs::path& output,
                               const CancelToken* cancel) {
  if (finished.calibration != wanted.calibration) {
    return wanted.calibration.empty()     ? "was made with calibration data"
           : finished.calibration.empty() ? "was made without calibration data"
                                          : "was made with other calibration data";
  }
  for (const auto& [name, value] : wanted.options) {
    const auto found = finished.options.find(name);
    if (found == finished.options.end() || found->second != value) {
      return "was made with another " + name;
    }
  }
  if (finished.tool_version != wanted.tool_version) {
    return "was made by version " + finished.tool_version;
  }
  size_t num_shards = 0;
  for (const ModelComponent& component : model.components) {
    num_shards += component.shards.size();
  }
  const auto changed = std::find_if(
      finished.source_files.begin(), finished.source_files.end(),
      [&](const FileRecord& file) { return !stands(file, source_root(model), cancel); });
  if (num_shards != finished.source_files.size() || changed != finished.source_files.end()) {
    return "was made from another source";
  }
  for (const ComponentRecord& component : finished.components) {
    for (const PartRecord& part : component.parts) {
      if (!stands(part.file, output, cancel)) {
        return "is damaged: " + part.file.path + " does not match its checksum";
      }
    }
  }
  for (const FileRecord& file : finished.copied_files) {
    if (!stands(file, output, cancel)) {
      return "is damaged: " + file.path + " does not match its checksum";
    }
  }
  return "";
}

}  // namespace arrow_quant
