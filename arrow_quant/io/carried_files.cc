#include "arrow_quant/io/carried_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 15> kWeightsExtensions = {
    ".safetensors", ".bin",  ".pt",        ".pth",  ".ckpt", ".pkl", ".pickle", ".msgpack",
    ".h5",          ".onnx", ".onnx_data", ".gguf", ".ot",   ".npz", ".tflite"};
constexpr std::array<std::string_view, 2> kCalibrationFiles = {"calibration.parquet",
                                                               "calibration.inputs.safetensors"};
constexpr std::array<std::string_view, 3> kToolDirectories = {".git", ".cache", ".huggingface"};

template <class Names>
bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return extension;
}

// Walks the tree depth first. A subdirectory with a config.json of its own is another component,
// whose weights are carried over like everything else.
class Walk {
 public:
  explicit Walk(ModelDir& model) : model_(model) {
    for (const ModelComponent& component : model.components) {
      component_dirs_.insert(component.subdir);
      for (const SafetensorsFile& shard : component.shards) {
        quantized_.insert(component.subdir / shard.path().filename());
      }
    }
  }

  void visit_directory(const fs::path& dir, bool in_quantized);

 private:
  void visit_entry(const fs::directory_entry& entry, const fs::path& path, bool in_quantized);
  void visit_dangling(const fs::path& path, bool in_quantized);
  void visit_subdirectory(const fs::directory_entry& entry, const fs::path& path,
                          bool in_quantized);
  void visit_file(const fs::path& path, bool in_quantized);
  void skip(const fs::path& path, const char* reason) { model_.skipped.push_back({path, reason}); }
  // What a model that is whole would have.
  void skip_with_warning(const fs::path& path, const char* reason, const char* remedy);
  // Why the link at `path` to a directory is not followed; null if it is.
  const char* why_not_followed(const fs::path& path) const;
  bool is_component(const fs::path& path) const;

  ModelDir& model_;
  std::set<fs::path> component_dirs_;
  std::set<fs::path> quantized_;   // the shards; all paths are relative to the root
  std::vector<fs::path> parents_;  // canonical paths of the directories being walked
  size_t component_root_ = 0;      // which of them a component that is a link leads to; 0: none
};

bool is_inside(const fs::path& path, const fs::path& directory) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first ==
         directory.end();
}

void Walk::visit_directory(const fs::path& dir, bool in_quantized) {
  const fs::path full = model_.root / dir;
  std::error_code error;
  parents_.push_back(fs::canonical(full, error));
  if (error) {
    throw_io_error("resolve", full, error.value());
  }
  std::error_code ignored;
  if (component_dirs_.count(dir) != 0) {
    in_quantized = true;
  } else if (fs::exists(full / "config.json", ignored)) {
    in_quantized = false;
  }
  for (fs::directory_iterator it(full, error), end; !error && it != end; it.increment(error)) {
    visit_entry(*it, dir / it->path().filename(), in_quantized);
  }
  if (error) {
    throw_io_error("list", full, error.value());
  }
  parents_.pop_back();
}

void Walk::visit_entry(const fs::directory_entry& entry, const fs::path& path, bool in_quantized) {
  std::error_code error;
  const fs::file_type type = entry.status(error).type();  // of what a link leads to
  if (type == fs::file_type::not_found) {
    visit_dangling(path, in_quantized);
  } else if (error) {
    throw_io_error("read the kind of", entry.path(), error.value());
  } else if (type == fs::file_type::directory) {
    visit_subdirectory(entry, path, in_quantized);
  } else if (type == fs::file_type::regular) {
    visit_file(path, in_quantized);
  } else {
    skip_with_warning(path, "not a regular file", "remove it, or replace it by a file");
  }
}

void Walk::visit_dangling(const fs::path& path, bool in_quantized) {
  constexpr const char* kReason = "a link to what is not there";
  if (in_quantized && is_weights_file(path)) {
    skip(path, kReason);
  } else {
    skip_with_warning(path, kReason, "fetch it");
  }
}

void Walk::visit_subdirectory(const fs::directory_entry& entry, const fs::path& path,
                              bool in_quantized) {
  std::error_code error;
  if (contains(kToolDirectories, path.filename().string())) {
    skip(path, "the directory of a tool, not part of the model");
    return;
  }
  const bool linked = entry.is_symlink(error);
  if (const char* reason = linked ? why_not_followed(path) : nullptr) {
    skip_with_warning(path, reason, "put its files where the link is if the model needs them");
    return;
  }
  if (linked && is_component(path)) {
    component_root_ = parents_.size();
    visit_directory(path, in_quantized);
    component_root_ = 0;
  } else {
    visit_directory(path, in_quantized);
  }
}

void Walk::skip_with_warning(const fs::path& path, const char* reason, const char* remedy) {
  skip(path, reason);
  model_.warnings.push_back(path.string() + " is not copied: " + reason + "; " + remedy);
}

bool Walk::is_component(const fs::path& path) const {
  return !path.has_parent_path() && contains(model_.entries, path.string());
}

const char* Walk::why_not_followed(const fs::path& path) const {
  std::error_code error;
  const fs::path target = fs::canonical(model_.root / path, error);
  const auto leads_around = [&](const fs::path& parent) { return is_inside(parent, target); };
  if (error || std::any_of(parents_.begin(), parents_.end(), leads_around)) {
    return "a link to a directory that contains the link";
  }
  const bool inside = is_inside(target, parents_.front()) ||
                      (component_root_ != 0 && is_inside(target, parents_[component_root_]));
  return inside || is_component(path) ? nullptr : "a link to a directory outside the model";
}

void Walk::visit_file(const fs::path& path, bool in_quantized) {
  const bool at_root = !path.has_parent_path();
  if (quantized_.count(path) != 0) {
    return;
  }
  if (path.filename() == "config.json" && component_dirs_.count(path.parent_path()) != 0) {
    return;  // the output has its own, made from this one
  }
  if (at_root && path == "manifest.json") {
    skip(path, "the output has a manifest.json of its own");
  } else if (at_root && contains(kCalibrationFiles, path.string())) {
    skip(path, "calibration data, not part of the model");
  } else if (in_quantized && is_weights_file(path)) {
    skip(path, path.extension() == ".json" ? "an index of weights that are not carried over"
                                           : "another serialization of quantized weights");
  } else if (at_root && model_.layout == ModelLayout::DiffusersPipeline && is_weights_file(path)) {
    skip(path, "weights beside the pipeline's components: part of none of them");
  } else {
    model_.copied.push_back(path);
  }
}

}  // namespace

bool is_weights_file(const fs::path& path) {
  if (contains(kWeightsExtensions, lower_extension(path))) {
    return true;
  }
  const std::string name = path.filename().string();
  const size_t index = name.find(".index.");  // model.safetensors.index.fp16.json
  return index != std::string::npos && name.ends_with(".json") &&
         contains(kWeightsExtensions, lower_extension(name.substr(0, index)));
}

void list_carried_files(ModelDir& model) {
  Walk(model).visit_directory("", false);
  std::sort(model.copied.begin(), model.copied.end());
  std::sort(model.skipped.begin(), model.skipped.end(),
            [](const SkippedFile& a, const SkippedFile& b) { return a.path < b.path; });
  std::sort(model.warnings.begin(), model.warnings.end());
}

}  // namespace arrow_quant
