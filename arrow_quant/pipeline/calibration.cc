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

// E[x²] of each column: from X^T X where it was collected, else the mean over the steps.
std::vector<float> importance_of(const LayerCalibration& layer) {
  const auto cols = static_cast<size_t>(layer.cols);
  std::vector<double> sum(cols);
  if (!layer.xtx.empty()) {
    for (size_t i = 0, at = 0; i < cols; at += cols - i, ++i) sum[i] = layer.xtx[at];
    return {sum.begin(), sum.end()};
  }
  size_t steps = 0;
  const size_t per_channel = cols / static_cast<size_t>(layer.channels);
  for (const StepSums& step : layer.steps) {
    if (step.sumsq.empty() || step.n_rows == 0) continue;
    ++steps;
    for (size_t i = 0; i < cols; ++i) {
      sum[i] += step.sumsq[i / per_channel] / static_cast<double>(step.n_rows);
    }
  }
  if (steps == 0) return {};
  return {sum.begin(), sum.end()};
}

}  // namespace

CalibratedLayer::CalibratedLayer(LayerCalibration data, const CalibrationInfo& info,
                                 bool compensate, const CancelToken* cancel)
    : cols_(static_cast<size_t>(data.cols)), num_steps_(info.steps.size()) {
  importance_ = importance_of(data);
  if (compensate && !data.xtx.empty()) {
    factor_ = factorize(data.xtx, cols_, cancel);
  }
  for (size_t r = 0; r < data.rows.count(); ++r) {
    if (!info.held_out(data.rows.trajectory[r])) continue;
    const auto row = data.rows.x.begin() + static_cast<std::ptrdiff_t>(r * cols_);
    held_out_.insert(held_out_.end(), row, row + static_cast<std::ptrdiff_t>(cols_));
    held_out_step_.push_back(data.rows.step[r]);
  }
}

std::vector<Trial> CalibratedLayer::trials(BitWidth width) const {
  std::vector<Trial> trials;
  const auto add = [&](Recipe recipe) { trials.push_back({recipe, inputs(), held_out_}); };
  add({});
  if (width == BitWidth::Int8) return trials;
  if (!importance_.empty()) add({true, false});
  if (factor_) {
    add({false, true});
    if (!importance_.empty()) add({true, true});
  }
  return trials;
}

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

std::shared_ptr<const CalibratedLayer> Calibration::layer(const PlannedTensor& tensor) {
  const std::string& data = file_.data_of(tensor.info->name);
  const bool compensate = usable_.at(tensor.info->name);
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const CalibratedLayer>& prepared = prepared_[{data, compensate}];
  if (auto ready = prepared.lock()) return ready;
  latest_ =
      std::make_shared<const CalibratedLayer>(file_.read(data), file_.info(), compensate, cancel_);
  prepared = latest_;
  return latest_;
}

}  // namespace arrow_quant
