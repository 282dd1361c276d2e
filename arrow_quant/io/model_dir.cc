#include "arrow_quant/io/model_dir.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/carried_files.h"
#include "arrow_quant/io/model_json.h"
#include "arrow_quant/io/quote.h"
#include "arrow_quant/io/weight_set.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAllowed =
    "a model is a .safetensors file, or a directory with one, with shards, or with a "
    "model_index.json";

[[noreturn]] void not_found(const fs::path& path, const std::string& problem) {
  throw Error(ErrorCode::ModelNotFound, path.string() + ": " + problem, path, ENOENT);
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

template <class Range>
std::string join(const Range& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + printable(name);
  }
  return text.empty() ? "none" : text;
}

bool is_pickle(const fs::path& path) {
  constexpr std::array<std::string_view, 6> kExtensions = {".bin",  ".pt",  ".pth",
                                                           ".ckpt", ".pkl", ".pickle"};
  return std::find(kExtensions.begin(), kExtensions.end(), path.extension().string()) !=
         kExtensions.end();
}

std::string how_to_convert(const std::string& pickle) {
  return "pickles can run code when loaded and are not read; convert them: from safetensors.torch "
         "import save_file; import torch; save_file(torch.load(\"" +
         pickle + "\", weights_only=True), \"" + fs::path(pickle).stem().string() +
         ".safetensors\") — or load the model and save_pretrained(..., safe_serialization=True)";
}

// The names in a directory that `wanted` accepts, sorted.
template <class Wanted>
std::vector<std::string> names_in(const fs::path& directory, Wanted wanted) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (wanted(it->path())) {
      names.push_back(it->path().filename().string());
    }
  }
  if (error) {
    throw_io_error("list", directory, error.value());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool holds_weights(const fs::path& directory) {
  return is_folder(directory) && !names_in(directory, [](const fs::path& path) {
                                    return is_weights_file(path) && is_file(path);
                                  }).empty();
}

// Says why a directory without safetensors files is no model.
[[noreturn]] void throw_no_weights(const fs::path& directory) {
  const auto pickles =
      names_in(directory, [](const auto& path) { return is_pickle(path) && is_file(path); });
  if (!pickles.empty()) {
    not_found(directory, "there are no .safetensors files, only " + join(pickles) + "; " +
                             how_to_convert(pickles.front()));
  }
  if (is_file(directory / "manifest.json")) {
    not_found(directory,
              "there is a manifest.json and no .safetensors file: this is already "
              "quantized; pass the original model");
  }
  const auto others = names_in(directory, holds_weights);
  if (!others.empty()) {
    not_found(directory, "there is no .safetensors file and no model_index.json, but weights in " +
                             join(others) + "; pass one of these directories");
  }
  not_found(directory, "there is no .safetensors file; " + std::string(kAllowed));
}

ModelComponent open_component(const fs::path& root, const std::string& name,
                              const ModelDirOptions& options) {
  ModelComponent component;
  component.name = name;
  component.subdir = name;
  const fs::path directory = root / component.subdir;
  const auto set = find_weight_set(directory, options.variant);
  if (!set) {
    throw_no_weights(directory);
  }
  if (is_file(directory / "config.json")) {
    ModelConfig config = read_model_config(directory / "config.json");
    component.config_json = std::move(config.text);
    component.class_name = std::move(config.class_name);
  }
  component.shards = open_weight_set(directory, *set);
  return component;
}

void refuse_components(const fs::path& path, const ModelDirOptions& options) {
  if (!options.components.empty()) {
    throw Error(ErrorCode::Configuration,
                path.string() + ": components is " + join(options.components) +
                    ", but the model is one component without a name (there is no "
                    "model_index.json); leave components empty");
  }
}

ModelDir open_single_file(const fs::path& path, const ModelDirOptions& options) {
  if (is_pickle(path)) {
    not_found(path, "not a safetensors file; " + how_to_convert(path.filename().string()));
  }
  if (path.extension() == ".json") {
    not_found(path, "not a model but a description of one; pass its directory");
  }
  if (path.extension() != ".safetensors") {
    not_found(path, "not a .safetensors file; " + std::string(kAllowed));
  }
  refuse_components(path, options);
  const auto name = parse_weight_file_name(path.filename().string());
  if (name && name->num_shards > 1) {
    throw Error(ErrorCode::InvalidModel,
                path.string() + ": this is shard " + std::to_string(name->shard) + " of " +
                    std::to_string(name->num_shards) +
                    "; pass the directory, or rename the file if it is to stand alone");
  }
  ModelDir model;
  model.root = path;
  model.layout = ModelLayout::SingleFile;
  model.components.emplace_back().shards.push_back(SafetensorsFile::open(path));
  return model;
}

ModelDir open_directory(const fs::path& root, const ModelDirOptions& options) {
  refuse_components(root, options);
  ModelDir model;
  model.root = root;
  model.layout = ModelLayout::Directory;
  model.components.push_back(open_component(root, "", options));
  list_carried_files(model);
  return model;
}

// The network that is run at every step, by the usual names of its directory and class.
bool is_denoiser(const PipelineEntry& entry) {
  constexpr std::array<std::string_view, 8> kNames = {
      "transformer", "transformer_2", "transformer_3", "unet",
      "unet_2",      "dit",           "denoiser",      "prior"};
  if (std::find(kNames.begin(), kNames.end(), entry.name) != kNames.end()) {
    return true;
  }
  const auto has = [&](std::string_view word) {
    return entry.class_name.find(word) != std::string::npos;
  };
  // Text encoders come from the library "transformers".
  return entry.library != "transformers" && !has("Autoencoder") && !has("ControlNet") &&
         !has("Adapter") && (has("Transformer") || has("UNet") || has("DiT") || has("UVit"));
}

std::vector<PipelineEntry> choose_components(const fs::path& root, const PipelineIndex& index,
                                             const ModelDirOptions& options) {
  std::vector<std::string> existing;
  for (const PipelineEntry& entry : index.entries) {
    if (holds_weights(root / entry.name)) {
      existing.push_back(entry.name);
    }
  }
  const auto& asked =
      options.components.empty() && options.all_components ? existing : options.components;
  for (const std::string& name : asked) {
    if (std::find(existing.begin(), existing.end(), name) == existing.end()) {
      throw Error(ErrorCode::Configuration,
                  root.string() + ": there is no component " + quote(name) +
                      " with weights; those that have are " + join(existing));
    }
  }
  std::vector<PipelineEntry> chosen;
  for (const PipelineEntry& entry : index.entries) {
    if (asked.empty() ? is_denoiser(entry)
                      : std::find(asked.begin(), asked.end(), entry.name) != asked.end()) {
      chosen.push_back(entry);
    }
  }
  if (chosen.empty() && existing.empty()) {
    not_found(root,
              "none of the components that model_index.json names has weights in .safetensors "
              "files; fetch the model again, or convert its weights");
  }
  if (chosen.empty()) {
    not_found(root,
              "none of the pipeline's components is known as a denoiser; set components to "
              "those that are to be quantized, out of " +
                  join(existing));
  }
  return chosen;
}

ModelDir open_pipeline(const fs::path& root, const ModelDirOptions& options) {
  const PipelineIndex index = read_pipeline_index(root / "model_index.json");
  ModelDir model;
  model.root = root;
  model.layout = ModelLayout::DiffusersPipeline;
  model.pipeline_class = index.class_name;
  for (const PipelineEntry& entry : index.entries) {
    model.entries.push_back(entry.name);
  }
  for (const PipelineEntry& entry : choose_components(root, index, options)) {
    if (!is_folder(root / entry.name)) {
      throw Error(ErrorCode::InvalidModel, (root / "model_index.json").string() +
                                               " lists component " + quote(entry.name) +
                                               ", but its directory is missing; fetch it");
    }
    ModelComponent component = open_component(root, entry.name, options);
    if (component.class_name.empty()) {
      component.class_name = entry.class_name;
    }
    model.components.push_back(std::move(component));
  }
  list_carried_files(model);
  return model;
}

}  // namespace

ModelDir open_model_dir(const fs::path& path, const ModelDirOptions& options) {
  if (path.empty()) {
    throw Error(ErrorCode::ModelNotFound, "the model's path is empty; " + std::string(kAllowed),
                path, ENOENT);
  }
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    not_found(path, "there is no such file or directory; " + std::string(kAllowed));
  }
  if (error) {
    throw_io_error("open", path, error.value());
  }
  if (fs::is_regular_file(status)) {
    return open_single_file(path, options);
  }
  if (!fs::is_directory(status)) {
    not_found(path, "neither a file nor a directory; " + std::string(kAllowed));
  }
  return is_file(path / "model_index.json") ? open_pipeline(path, options)
                                            : open_directory(path, options);
}

}  // namespace arrow_quant
