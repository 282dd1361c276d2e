// The JSON files that describe a model beside its weights: model_index.json of a pipeline,
// config.json of a component, the index of a sharded file. Only what finding the weights needs.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace arrow_quant {

struct PipelineEntry {
  std::string name;  // also the name of its directory, hence a plain file name
  std::string library;
  std::string class_name;
};

struct PipelineIndex {
  std::string class_name;
  std::vector<PipelineEntry> entries;  // sorted by name; those set to null are left out
};

struct ModelConfig {
  std::string text;
  std::string class_name;  // "_class_name" or the first of "architectures"; "" if unknown
};

// Each throws: Error(Io); Error(InvalidModel) naming the file, and the position of broken JSON.
PipelineIndex read_pipeline_index(const std::filesystem::path& path);
ModelConfig read_model_config(const std::filesystem::path& path);
// "weight_map": tensor name → name of the file beside the index that holds it, which is a plain
// file name ending in .safetensors.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path);

}  // namespace arrow_quant
