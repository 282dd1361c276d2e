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
#include "arrow_quant/pipeline/layer_views.h"
#include "arrow_quant/pipeline/memory_needs.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

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

  // What a run needs beside the memory of one without calibration data.
  void add_needs(MemoryNeeds& needs) const;

  bool covers(const PlannedComponent& component, const PlannedTensor& tensor) const;
  // Whether views() asks for the largest |w| of each of the tensor's columns.
  bool wants_weight_range(const PlannedTensor& tensor) const;
  // Whether rotated inputs are tried.
  bool rotates(const PlannedTensor& tensor, BitWidth width) const;
  // The rank of the low ranks that are tried on a covered tensor at some width; 0: none.
  size_t low_rank_of(const PlannedTensor& tensor, BitWidth width) const;
  const CancelToken* cancel() const { return cancel_; }
  // Prepares the layer's data; layers with the same input get the same. Any thread may call it.
  // Pre: the layer is covered. Throws as CalibrationFile::read does.
  std::shared_ptr<const LayerViews> views(const PlannedTensor& tensor, BitWidth width,
                                          std::span<const float> weight_abs_max);

 private:
  Calibration(CalibrationFile file, const DiffusionQuantConfig& config, const CancelToken* cancel);
  void match(const Plan& plan, uint64_t memory_limit_bytes);
  void check_width(const PlannedTensor& tensor, const CalibrationFile::Entry& data) const;
  [[noreturn]] void refuse_other_model() const;
  size_t num_views(const PlannedTensor& tensor, BitWidth width) const;
  uint64_t bytes_needed(const PlannedTensor& tensor, const CalibrationFile::Entry& data,
                        bool compensated) const;
  size_t wanted_rank(const PlannedTensor& tensor, const CalibrationFile::Entry& data) const;

  CalibrationFile file_;
  const DiffusionQuantConfig& config_;
  const CancelToken* cancel_;
  std::string digest_;
  std::vector<std::string> warnings_;
  struct Use {
    bool compensated = false;  // errors may be passed on
    size_t rank = 0;           // of low ranks; 0: none are tried
  };
  std::map<std::string, Use> usable_;  // by layer
  uint64_t layer_bytes_ = 0;           // of the largest layer's data, prepared
  uint64_t low_rank_bytes_ = 0;        // of the largest layer's error, and of what is fitted to it
  uint64_t thread_bytes_ = 0;          // of a thread that works on it

  // What the views of a layer depend on.
  struct Key {
    std::string data;    // the layer that has them
    std::string tensor;  // "" where they do not depend on its weights
    bool compensate = false;
    bool rotate = false;
    int activation_bits = 0;
    auto operator<=>(const Key&) const = default;
  };
  std::mutex mutex_;
  std::map<Key, std::weak_ptr<const LayerViews>> prepared_;
  std::shared_ptr<const LayerViews> latest_;
};

}  // namespace arrow_quant
