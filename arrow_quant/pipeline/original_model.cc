#include "arrow_quant/pipeline/original_model.h"

#include "arrow_quant/core/error.h"
#include "arrow_quant/diffusion/layer_rules.h"

namespace arrow_quant {
namespace {

ModelDirOptions options_of(const Manifest& manifest) {
  ModelDirOptions options;
  if (manifest.components.size() > 1) {
    for (const ComponentRecord& component : manifest.components) {
      options.components.push_back(component.name);
    }
  } else if (!manifest.components.empty() && !manifest.components[0].name.empty()) {
    options.components = {manifest.components[0].name};
  }
  if (const auto found = manifest.options.find("variant"); found != manifest.options.end()) {
    if (const auto* variant = std::get_if<std::string>(&found->second)) {
      options.variant = *variant;
    }
  }
  return options;
}

// A pipeline's component may be given by itself, as its folder.
ModelDir open_source(const std::filesystem::path& path, const Manifest& manifest) {
  ModelDirOptions options = options_of(manifest);
  std::error_code ignored;
  if (options.components.size() == 1 &&
      !std::filesystem::exists(path / "model_index.json", ignored)) {
    options.components.clear();
  }
  return open_model_dir(path, options);
}

}  // namespace

OriginalModel::OriginalModel(const std::filesystem::path& path, const Manifest& manifest) {
  std::error_code ignored;
  if (!path.empty() && std::filesystem::is_regular_file(path / kManifestName, ignored)) {
    quantized_ = QuantizedModel::open(path);
    list_quantized_tensors();
  } else {
    source_ = open_source(path, manifest);
    list_source_tensors();
  }
}

void OriginalModel::list_source_tensors() {
  for (size_t c = 0; c < source_->components.size(); ++c) {
    const ModelComponent& component = source_->components[c];
    for (size_t s = 0; s < component.shards.size(); ++s) {
      for (const TensorInfo& info : component.shards[s].tensors()) {
        tensors_.push_back({component.name, info.name, info.shape, info.dtype, info.size_bytes, c,
                            s, info.begin, -1, false});
      }
    }
  }
}

void OriginalModel::list_quantized_tensors() {
  const std::vector<LayerReport>& reports = quantized_->tensors();
  for (size_t i = 0; i < reports.size(); ++i) {
    const LayerReport& report = reports[i];
    Tensor tensor;
    tensor.component = report.component;
    tensor.name = report.name;
    tensor.shape = report.shape;
    tensor.dtype = *parse_dtype(report.dtype);
    tensor.size_bytes = static_cast<uint64_t>(report.source_bytes);
    tensor.quantized_index = static_cast<int64_t>(i);
    tensor.values_only = report.quant_type != "none";
    tensors_.push_back(std::move(tensor));
  }
}

void OriginalModel::read(const Tensor& tensor, uint64_t offset, std::span<uint8_t> out) const {
  source_->components[tensor.shard_component].shards[tensor.shard].file().read_at(
      tensor.begin + offset, out);
}

std::optional<Buffer> OriginalModel::load(const Tensor& tensor) const {
  if (!quantized_) {
    return std::nullopt;
  }
  return quantized_->dequantize(
      tensor.quantized_index,
      tensor.values_only || is_quantizable(tensor.dtype) ? DType::F32 : tensor.dtype);
}

}  // namespace arrow_quant
