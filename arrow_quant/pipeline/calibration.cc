#include "arrow_quant/pipeline/calibration.h"

#include <algorithm>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/diffusion/layer_rules.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/input_file.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

// Fewer sampled rows than this say too little (calibrating and held-out ones together).
constexpr size_t kFewestRows = 64;
constexpr const char* kDefaultName = "calibration.parquet";

std::optional<fs::path> calibration_file(const fs::path& model,
                                         const DiffusionQuantConfig& config) {
  std::error_code ignored;
  if (config.calibration_path) {
    if (!fs::exists(*config.calibration_path, ignored)) {
      throw Error(ErrorCode::Configuration,
                  "calibration_path = \"" + *config.calibration_path +
                      "\": there is no such file; name one that holds calibration data, or leave "
                      "the option out");
    }
    return fs::path(*config.calibration_path);
  }
  if (fs::is_regular_file(model / kDefaultName, ignored)) {
    return model / kDefaultName;
  }
  return std::nullopt;
}

std::string digest_of(const fs::path& path, const CancelToken* cancel) {
  const InputFile file = InputFile::open(path);
  Xxh3_128 hash;
  Buffer bytes(size_t{1} << 20);
  for (uint64_t at = 0; at < file.size_bytes(); at += bytes.size_bytes()) {
    check_cancelled(cancel);
    const auto part =
        bytes.bytes().first(std::min<uint64_t>(bytes.size_bytes(), file.size_bytes() - at));
    file.read_at(at, part);
    hash.update(part);
  }
  return hash.hex_digest();
}

// Whether the layer's input can be transformed and quantized by rows: a convolution's patches
// overlap.
bool is_matrix(const PlannedTensor& tensor) {
  const std::vector<int64_t>& shape = tensor.info->shape;
  return std::all_of(shape.begin() + 2, shape.end(), [](int64_t size) { return size == 1; });
}

}  // namespace

Calibration::Calibration(CalibrationFile file, const DiffusionQuantConfig& config,
                         const CancelToken* cancel)
    : file_(std::move(file)), config_(config), cancel_(cancel) {}

std::unique_ptr<Calibration> Calibration::open(const fs::path& model,
                                               const DiffusionQuantConfig& config, const Plan& plan,
                                               uint64_t memory_limit_bytes,
                                               const CancelToken* cancel) {
  const std::optional<fs::path> path = calibration_file(model, config);
  if (!path) return nullptr;
  std::unique_ptr<Calibration> calibration(
      new Calibration(CalibrationFile::open(*path), config, cancel));
  calibration->match(plan, memory_limit_bytes);
  calibration->digest_ = digest_of(*path, cancel);
  return calibration;
}

void Calibration::match(const Plan& plan, uint64_t memory_limit_bytes) {
  const std::string where = file_.path().string();
  size_t in_model = 0;
  const std::vector<LayerRules::Pattern> without =
      LayerRules::compile(config_.modules_to_not_compensate, "modules_to_not_compensate");
  const auto excluded = [&](const std::string& name) {
    return std::any_of(without.begin(), without.end(),
                       [&](const LayerRules::Pattern& pattern) { return pattern.matches(name); });
  };
  std::string too_few, too_large;
  size_t num_too_few = 0, num_too_large = 0;
  for (const PlannedComponent& component : plan.components) {
    if (!file_.info().component.empty() && plan.components.size() > 1 &&
        component.source->name != file_.info().component) {
      continue;
    }
    for (const PlannedTensor& tensor : component.tensors) {
      const auto found = file_.layers().find(tensor.info->name);
      if (found == file_.layers().end()) continue;
      ++in_model;
      if (!tensor.decision.bit_width) continue;
      if (found->second.cols != tensor.view.cols) {
        throw Error(ErrorCode::Configuration,
                    where + ": layer '" + tensor.info->name + "' has inputs of " +
                        std::to_string(found->second.cols) + " values, the model's weight has " +
                        std::to_string(tensor.view.cols) +
                        " columns; collect the calibration data from this very model");
      }
      const CalibrationFile::Entry& data = file_.layers().at(file_.data_of(tensor.info->name));
      if (data.calibrating_rows + data.held_out_rows < kFewestRows || data.held_out_rows == 0) {
        too_few = num_too_few++ == 0 ? tensor.info->name : too_few;
        continue;
      }
      const bool fits =
          2 * SweepFactor::bytes_needed(static_cast<size_t>(data.cols)) <= memory_limit_bytes;
      if (data.has_xtx && !fits) too_large = num_too_large++ == 0 ? tensor.info->name : too_large;
      usable_.emplace(tensor.info->name, data.has_xtx && fits &&
                                             config_.compensation == Compensation::Auto &&
                                             !excluded(tensor.info->name));
    }
  }
  if (in_model == 0) {
    throw Error(
        ErrorCode::Configuration,
        where + ": none of its " + std::to_string(file_.layers().size()) +
            " layers is in the model" +
            (file_.layers().empty() ? std::string()
                                    : ", the first is '" + file_.layers().begin()->first + "'") +
            "; collect the calibration data from this very model");
  }
  if (num_too_few > 0) {
    warnings_.push_back(where + ": " + std::to_string(num_too_few) +
                        " layers have fewer than 64 sampled rows, or none of a held-out "
                        "trajectory, and were quantized without it, the first is '" +
                        too_few + "'; collect from more trajectories, 4 at least");
  }
  if (num_too_large > 0) {
    warnings_.push_back(where + ": errors are not passed on in " + std::to_string(num_too_large) +
                        " layers whose X^T X does not fit the memory limit, the first is '" +
                        too_large + "'; raise max_memory_limit_mb");
  }
}

bool Calibration::covers(const PlannedComponent& component, const PlannedTensor& tensor) const {
  return (file_.info().component.empty() || component.source->name.empty() ||
          component.source->name == file_.info().component) &&
         usable_.contains(tensor.info->name);
}

int activation_bits_of(const PlannedTensor& tensor, const DiffusionQuantConfig& config) {
  return config.activation_bits && config.activation_mode == ActivationMode::Dynamic &&
                 !tensor.decision.sensitive
             ? static_cast<int>(*config.activation_bits)
             : 0;
}

bool Calibration::wants_weight_range(const PlannedTensor& tensor) const {
  return config_.enable_spatial && is_matrix(tensor) && activation_bits_of(tensor, config_) != 0;
}

std::shared_ptr<const LayerViews> Calibration::views(const PlannedTensor& tensor, BitWidth width,
                                                     std::span<const float> weight_abs_max) {
  Key key;
  key.data = file_.data_of(tensor.info->name);
  key.tensor = weight_abs_max.empty() ? "" : tensor.info->name;
  key.compensate = usable_.at(tensor.info->name) && width != BitWidth::Int8;
  key.activation_bits = is_matrix(tensor) ? activation_bits_of(tensor, config_) : 0;
  key.rotate = config_.enable_spatial && config_.rotation == Rotation::Auto && is_matrix(tensor) &&
               (key.activation_bits == 4 || width == BitWidth::Int2);
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const LayerViews>& prepared = prepared_[key];
  if (auto ready = prepared.lock()) return ready;
  const LayerViews::Options options{key.compensate, key.rotate, key.activation_bits,
                                    std::string(to_string(config_.method))};
  latest_ = std::make_shared<const LayerViews>(file_.read(key.data), file_.info(), options,
                                               weight_abs_max, cancel_);
  prepared = latest_;
  return latest_;
}

}  // namespace arrow_quant
