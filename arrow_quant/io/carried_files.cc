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
  void visit_subdirectory(const fs::directory_entry& entry, const fs::path& path,
                          bool in_quantized);
  void visit_file(const fs::path& path, bool in_quantized);
  void skip(const fs::path& path, const char* reason) { model_.skipped.push_back({path, reason}); }
  // Whether the link at `path` leads to a directory below the root, and not back to one that is
  // being walked.
  bool may_follow(const fs::path& path) const;

  ModelDir& model_;
  std::set<fs::path> component_dirs_;
  std::set<fs::path> quantized_;   // the shards; all paths are relative to the root
  std::vector<fs::path> parents_;  // canonical paths of the directories being walked
};

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
    skip(path, "a link to a file that is not there");
  } else if (error) {
    throw_io_error("read the kind of", entry.path(), error.value());
  } else if (type == fs::file_type::directory) {
    visit_subdirectory(entry, path, in_quantized);
  } else if (type == fs::file_type::regular) {
    visit_file(path, in_quantized);
  } else {
    skip(path, "not a regular file");
  }
}

void Walk::visit_subdirectory(const fs::directory_entry& entry, const fs::path& path,
                              bool in_quantized) {
  std::error_code error;
  if (contains(kToolDirectories, path.filename().string())) {
    skip(path, "the directory of a tool, not part of the model");
  } else if (entry.is_symlink(error) && !may_follow(path)) {
    skip(path, "a link to a directory outside the model, or to one that contains the link");
  } else {
    visit_directory(path, in_quantized);
  }
}

bool Walk::may_follow(const fs::path& path) const {
  std::error_code error;
  const fs::path target = fs::canonical(model_.root / path, error);
  const fs::path& root = parents_.front();
  return !error &&
         std::mismatch(root.begin(), root.end(), target.begin(), target.end()).first ==
             root.end() &&
         std::find(parents_.begin(), parents_.end(), target) == parents_.end();
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
}

}  // namespace arrow_quant
