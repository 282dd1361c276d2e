#include "arrow_quant/pipeline/calibration.h"

#include <algorithm>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/diffusion/layer_rules.h"
#include "arrow_quant/diffusion/weight_sketch.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/input_file.h"
#include "arrow_quant/pipeline/calibration_origin.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

// Fewer sampled rows than this say too little (calibrating and held-out ones together).
constexpr size_t kFewestRows = 64;
// Of a thread, for each column: seven panels of 64 rows, and chunks of as many.
constexpr uint64_t kThreadColumnBytes = 8 * 64 * sizeof(float);
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

// Either rows to judge by, or sums without any rows, as importance matrices have them.
bool says_enough(const CalibrationFile::Entry& data) {
  const size_t rows = data.calibrating_rows + data.held_out_rows;
  return rows == 0 ? static_cast<size_t>(data.counted_rows) >= kFewestRows
                   : rows >= kFewestRows && data.held_out_rows > 0;
}

// Of a thread that chooses a layer's activation parameters: the sampled rows as read, as picked, in
// halves, and quantized; and the sketch of the weights.
uint64_t choosing_bytes(const PlannedTensor& tensor, const CalibrationFile::Entry& data,
                        const DiffusionQuantConfig& config) {
  if (activation_bits_of(tensor, config) == 0) return 0;
  const uint64_t rows = data.calibrating_rows + data.held_out_rows;
  return sizeof(float) * static_cast<uint64_t>(data.cols) * (4 * rows + WeightSketch::kRows);
}

// The error of the whole tensor, what is fitted to it, and held-out rows beside it; the factor with
// the low rank foreseen, and two squares while it is made.
uint64_t low_rank_bytes(const PlannedTensor& tensor, const CalibrationFile::Entry& data,
                        size_t rank, bool compensated) {
  if (rank == 0) return 0;
  const auto rows = static_cast<size_t>(tensor.view.rows);
  const auto cols = static_cast<size_t>(tensor.view.cols);
  const size_t squares = compensated ? 3 * cols : 0;
  return (rows + 2 * data.held_out_rows + squares) * cols * sizeof(float) +
         fitting_bytes(rows, cols, rank);
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

size_t Calibration::num_views(const PlannedTensor& tensor, BitWidth width) const {
  const size_t smoothed = wants_weight_range(tensor) ? 2 : 1;
  return rotates(tensor, width) ? 2 * smoothed : smoothed;
}

// Of one layer: the data as read, and what each view keeps of them; twice, since the next layer's
// are prepared while the last one's are still in use.
uint64_t Calibration::bytes_needed(const PlannedTensor& tensor, const CalibrationFile::Entry& data,
                                   bool compensated) const {
  const auto cols = static_cast<uint64_t>(data.cols);
  const uint64_t views = num_views(tensor, *tensor.decision.bit_width);
  const uint64_t sampled = data.calibrating_rows + data.held_out_rows;
  const uint64_t rows = sampled == 0 ? cols : sampled;  // LayerViews makes one for each input
  const uint64_t squares = data.has_xtx ? 2 + (compensated ? views : 0) : 0;
  return 2 * sizeof(float) * cols * (squares * cols + (1 + views) * rows);
}

void Calibration::match(const Plan& plan, uint64_t memory_limit_bytes) {
  const std::vector<LayerRules::Pattern> without =
      LayerRules::compile(config_.modules_to_not_compensate, "modules_to_not_compensate");
  const auto excluded = [&](const std::string& name) {
    return std::any_of(without.begin(), without.end(),
                       [&](const LayerRules::Pattern& pattern) { return pattern.matches(name); });
  };
  size_t in_model = 0;
  std::vector<std::string> too_few, too_large, too_large_for_rank;
  for (const PlannedComponent& component : plan.components) {
    if (!is_of_component(file_.info(), *component.source)) continue;
    for (const PlannedTensor& tensor : component.tensors) {
      const std::string& name = tensor.info->name;
      const auto found = file_.layers().find(name);
      if (found == file_.layers().end()) continue;
      ++in_model;
      if (!tensor.decision.bit_width) continue;
      check_width(tensor, found->second);
      const CalibrationFile::Entry& data = file_.layers().at(file_.data_of(name));
      if (!says_enough(data)) {
        too_few.push_back(name);
        continue;
      }
      bool compensated =
          data.has_xtx && config_.compensation == Compensation::Auto && !excluded(name);
      if (compensated && bytes_needed(tensor, data, true) > memory_limit_bytes / 2) {
        too_large.push_back(name);
        compensated = false;
      }
      size_t rank = wanted_rank(tensor, data);
      if (bytes_needed(tensor, data, compensated) +
              low_rank_bytes(tensor, data, rank, compensated) >
          memory_limit_bytes / 2) {
        if (rank > 0) too_large_for_rank.push_back(name);
        rank = 0;
      }
      usable_.emplace(name, Use{compensated, rank});
      layer_bytes_ = std::max(layer_bytes_, bytes_needed(tensor, data, compensated));
      low_rank_bytes_ = std::max(low_rank_bytes_, low_rank_bytes(tensor, data, rank, compensated));
      thread_bytes_ =
          std::max(thread_bytes_, static_cast<uint64_t>(data.cols) * kThreadColumnBytes +
                                      choosing_bytes(tensor, data, config_));
    }
  }
  if (in_model == 0) {
    refuse_other_model();
  }
  warnings_ = signs_of_another_model(file_, plan);
  const auto warn = [&](const std::vector<std::string>& layers, const std::string& what) {
    if (layers.empty()) return;
    warnings_.push_back(file_.path().string() + ": " + std::to_string(layers.size()) + what +
                        "; the first is '" + layers.front() + "'");
  };
  warn(too_few,
       " layers have fewer than 64 sampled rows, or none of a held-out trajectory, and are "
       "quantized without calibration data; collect from more trajectories, 4 at least");
  warn(too_large,
       " layers have more inputs than XᵀX fits the memory limit for, so that no errors are "
       "passed on; raise max_memory_limit_mb");
  warn(
      too_large_for_rank,
      " layers have more weights than the memory limit holds the errors of, so that no low rank is "
      "tried; raise max_memory_limit_mb");
}

void Calibration::check_width(const PlannedTensor& tensor,
                              const CalibrationFile::Entry& data) const {
  if (data.cols == tensor.view.cols) return;
  throw Error(ErrorCode::Configuration,
              file_.path().string() + ": layer '" + tensor.info->name + "' has inputs of " +
                  std::to_string(data.cols) + " values, the model's weight has " +
                  std::to_string(tensor.view.cols) +
                  " columns; collect the calibration data from this very model");
}

void Calibration::refuse_other_model() const {
  const auto& layers = file_.layers();
  const std::string& component = file_.info().component;
  throw Error(ErrorCode::Configuration,
              file_.path().string() + ": none of its " + std::to_string(layers.size()) +
                  " layers is in the model" +
                  (layers.empty() ? "" : ", the first is '" + layers.begin()->first + "'") +
                  (component.empty() ? "" : "; they are of component '" + component + "'") +
                  "; collect the calibration data from this very model");
}

void Calibration::add_needs(MemoryNeeds& needs) const {
  needs.calibrating_bytes += layer_bytes_ + low_rank_bytes_;
  needs.per_thread_bytes += thread_bytes_;
}

bool Calibration::covers(const PlannedComponent& component, const PlannedTensor& tensor) const {
  return is_of_component(file_.info(), *component.source) && usable_.contains(tensor.info->name);
}

size_t Calibration::wanted_rank(const PlannedTensor& tensor,
                                const CalibrationFile::Entry& data) const {
  return data.has_xtx ? largest_rank(tensor, config_) : 0;
}

size_t Calibration::low_rank_of(const PlannedTensor& tensor, BitWidth width) const {
  return width == BitWidth::Int8 ? 0 : usable_.at(tensor.info->name).rank;
}

bool Calibration::rotates(const PlannedTensor& tensor, BitWidth width) const {
  return config_.enable_spatial && config_.rotation == Rotation::Auto &&
         (activation_bits_of(tensor, config_) == 4 || width == BitWidth::Int2);
}

bool Calibration::wants_weight_range(const PlannedTensor& tensor) const {
  return config_.enable_spatial && activation_bits_of(tensor, config_) != 0;
}

std::shared_ptr<const LayerViews> Calibration::views(const PlannedTensor& tensor, BitWidth width,
                                                     std::span<const float> weight_abs_max) {
  Key key;
  key.data = file_.data_of(tensor.info->name);
  key.tensor = weight_abs_max.empty() ? "" : tensor.info->name;
  key.compensate = usable_.at(tensor.info->name).compensated && width != BitWidth::Int8;
  key.activation_bits = activation_bits_of(tensor, config_);
  key.rotate = rotates(tensor, width);
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const LayerViews>& prepared = prepared_[key];
  if (auto ready = prepared.lock()) return ready;
  const LayerViews::Options options{key.compensate, key.rotate, key.activation_bits,
                                    std::string(to_string(config_.method)),
                                    config_.quality == Quality::High};
  latest_ = std::make_shared<const LayerViews>(file_.read(key.data), file_.info(), options,
                                               weight_abs_max, cancel_);
  prepared = latest_;
  return latest_;
}

}  // namespace arrow_quant
