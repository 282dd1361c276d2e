// A model as it lies on disk: which components it has, which of them are quantized, which files
// are carried over. Understands a single .safetensors file, a directory with one, shards with or
// without an index, a diffusers pipeline, a transformers directory, and variants (".fp16.").
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/io/safetensors.h"

namespace arrow_quant {

enum class ModelLayout { SingleFile, Directory, DiffusersPipeline };

struct ModelComponent {
  std::string name;              // "transformer", "unet" …; "" where the model is one component
  std::filesystem::path subdir;  // relative to the root; empty for the root itself
  std::string class_name;        // from config.json or model_index.json; "" if unknown
  std::string config_json;       // text of config.json; "" if there is none
  std::vector<SafetensorsFile> shards;  // in the order of their names; no tensor name twice
};

struct SkippedFile {
  std::filesystem::path path;  // relative to the root
  std::string reason;
};

struct ModelDir {
  std::filesystem::path root;  // the directory, or the file itself for SingleFile
  ModelLayout layout = ModelLayout::Directory;
  std::string pipeline_class;              // "_class_name" of model_index.json; "" if there is none
  std::vector<std::string> entries;        // all that model_index.json names, quantized or not
  std::vector<ModelComponent> components;  // those to quantize
  std::vector<std::filesystem::path> copied;  // regular files carried over, relative to the root
  std::vector<SkippedFile> skipped;           // other serializations of quantized components …
  std::vector<std::string> warnings;          // what the output lacks that it may need
};

struct ModelDirOptions {
  // Components to quantize; empty: the denoiser ("transformer", "transformer_2", "unet", …), or
  // the whole model where there is one component.
  std::vector<std::string> components = {};
  // "fp16": prefer model.fp16.safetensors. Unset: the plain files, or the only variant there is.
  std::optional<std::string> variant = {};
  // Where no components are named: every one that has weights, instead of the denoiser.
  bool all_components = false;
};

// Throws: Error(ModelNotFound) where there is no model, with the remedy where there are only
// pickles; Error(InvalidModel) for incomplete shards, a broken index, or a broken file;
// Error(Configuration) for components or variants that do not exist, naming those that do.
ModelDir open_model_dir(const std::filesystem::path& path, const ModelDirOptions& options);

}  // namespace arrow_quant
