// Calibration: the calibration data of a run, checked against the model that is quantized, and
// prepared layer by layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/calibration_file.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/quant/trial.h"

namespace arrow_quant {

// What a layer's data offer for quantizing it. Layers with the same input share it.
class CalibratedLayer {
 public:
  CalibratedLayer(LayerCalibration data, const CalibrationInfo& info, bool compensate,
                  const CancelToken* cancel);

  InputPower inputs() const { return {importance_, factor_ ? &*factor_ : nullptr}; }
  InputRows held_out() const { return {held_out_, held_out_step_, cols_}; }
  size_t num_steps() const { return num_steps_; }

  // The ways to quantize the layer that its data allow, the plain one first.
  std::vector<Trial> trials(BitWidth width) const;

 private:
  size_t cols_;
  size_t num_steps_;
  std::vector<float> importance_;
  std::optional<SweepFactor> factor_;
  std::vector<float> held_out_;
  std::vector<int32_t> held_out_step_;
};

class Calibration {
 public:
  // The file at calibration_path, else calibration.parquet in the model's folder; null if there is
  // neither. Throws: Error(Configuration) for a path that is not there, or data of another model;
  // what CalibrationFile::open throws.
  static std::unique_ptr<Calibration> open(const std::filesystem::path& model,
                                           const DiffusionQuantConfig& config, const Plan& plan,
                                           uint64_t memory_limit_bytes, const CancelToken* cancel);

  const CalibrationFile& file() const { return file_; }
  // XXH3 128-bit hash of the file, as in the manifest.
  const std::string& digest() const { return digest_; }
  // What could not be used, and why.
  const std::vector<std::string>& warnings() const { return warnings_; }
  size_t num_layers() const { return usable_.size(); }

  bool covers(const PlannedComponent& component, const PlannedTensor& tensor) const;
  // Prepares it at the first call. Any thread may call it. Pre: the layer is covered. Throws as
  // CalibrationFile::read does.
  std::shared_ptr<const CalibratedLayer> layer(const PlannedTensor& tensor);

 private:
  Calibration(CalibrationFile file, const DiffusionQuantConfig& config, const CancelToken* cancel);
  void match(const Plan& plan, uint64_t memory_limit_bytes);

  CalibrationFile file_;
  const DiffusionQuantConfig& config_;
  const CancelToken* cancel_;
  std::string digest_;
  std::vector<std::string> warnings_;
  std::map<std::string, bool> usable_;  // by layer; whether errors may be passed on

  std::mutex mutex_;
  // By the layer with the data, and whether errors may be passed on.
  std::map<std::pair<std::string, bool>, std::weak_ptr<const CalibratedLayer>> prepared_;
  std::shared_ptr<const CalibratedLayer> latest_;
};

}  // namespace arrow_quant
