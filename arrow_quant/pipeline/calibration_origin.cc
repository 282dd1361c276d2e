#include "arrow_quant/pipeline/calibration_origin.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "arrow_quant/io/component_config.h"

namespace arrow_quant {
namespace {

constexpr const char* kRemedy = "; collect the calibration data from this very model";

// A head that is tied to the embedding is watched, but has no tensor of its own. Where they are
// silent, configs of transformers may mean that it is.
bool may_have_tied_head(const ModelComponent& component) {
  const std::vector<std::string> scalars = config_scalars(component.config_json);
  const auto has = [&](std::string_view beginning) {
    return std::any_of(scalars.begin(), scalars.end(),
                       [&](const std::string& scalar) { return scalar.starts_with(beginning); });
  };
  return has("architectures=") && !has("tie_word_embeddings=false");
}

// A config may have the name from before a class was split: "Transformer2DModel" of a
// DiTTransformer2DModel.
bool is_same_class(std::string_view one, std::string_view other) {
  return one.ends_with(other) || other.ends_with(one);
}

}  // namespace

bool is_of_component(const CalibrationInfo& info, const ModelComponent& component) {
  return info.component.empty() || component.name.empty() || component.name == info.component;
}

std::vector<std::string> signs_of_another_model(const CalibrationFile& file, const Plan& plan) {
  std::set<std::string> names;
  std::vector<std::string> classes;
  bool may_be_tied = false;
  for (const PlannedComponent& component : plan.components) {
    if (!is_of_component(file.info(), *component.source)) continue;
    classes.push_back(component.source->class_name);
    may_be_tied = may_be_tied || may_have_tied_head(*component.source);
    for (const PlannedTensor& tensor : component.tensors) {
      names.insert(tensor.info->name);
    }
  }
  std::vector<std::string> lacking, found;
  for (const auto& [name, entry] : file.layers()) {
    (names.contains(name) ? found : lacking).push_back(name);
  }
  std::vector<std::string> signs;
  if (lacking.size() > (may_be_tied ? 1 : 0)) {
    signs.push_back(file.path().string() + ": " + std::to_string(lacking.size()) + " of its " +
                    std::to_string(file.layers().size()) +
                    " layers are not in the model; the first is '" + lacking.front() + "'" +
                    kRemedy);
  }
  const std::string& collected = file.info().model_class;
  const bool fits = std::any_of(classes.begin(), classes.end(), [&](const std::string& own) {
    return is_same_class(own, collected);
  });
  if (!fits && !found.empty()) {
    signs.push_back(file.path().string() + ": collected from a model of class " + collected +
                    ", and this one's is " + classes.front() + "; layers of the same name, '" +
                    found.front() + "' the first, may have other inputs" + kRemedy);
  }
  return signs;
}

}  // namespace arrow_quant
