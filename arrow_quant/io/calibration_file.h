// CalibrationFile: what the inputs of a model's layers look like, layer by layer (CALIBRATION.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace arrow_quant {

struct TimeAxisStep {
  double timestep = 0;  // as the model was given it; a text model: the masked fraction
  double log_snr = 0;
};

struct CalibrationInfo {
  std::string component;            // "" where the model is one component
  std::string model_class;          // "" where unknown
  std::string time_kind;            // "timestep", "masked_fraction", "none"
  std::string schedule;             // in words, where log-SNR came from
  std::vector<TimeAxisStep> steps;  // from the noisiest to the cleanest
  int64_t num_trajectories = 0;
  std::vector<int32_t> trajectories;  // the numbers of those with sampled rows, rising
  int64_t validation_every = 4;       // trajectory i is held out where i mod every = remainder
  int64_t validation_remainder = 1;

  bool held_out(int64_t trajectory) const {
    return trajectory % validation_every == validation_remainder;
  }
};

// A step's sums over the inputs of the calibrating trajectories, by input channel.
struct StepSums {
  int32_t step = 0;
  int64_t n_rows = 0;
  std::vector<float> min, max, sum, sumsq;  // [channels], or empty
};

// Sampled input rows of both kinds of trajectories.
struct SampledRows {
  std::vector<float> x;             // [rows, cols]
  std::vector<int32_t> step;        // of each row
  std::vector<int32_t> trajectory;  // of each row
  size_t count() const { return step.size(); }
};

struct LayerCalibration {
  std::string name;
  int64_t channels = 0;
  int64_t cols = 0;
  std::vector<StepSums> steps;
  SampledRows rows;
  int64_t xtx_rows = 0;
  std::vector<float> xtx;  // upper triangle, row by row; empty if not collected
};

class CalibrationFile {
 public:
  // Reads names and sizes only. Throws: Error(Io); Error(Metadata) for a file that is none, or
  // contradicts itself; Error(Unsupported) for a newer format version.
  static CalibrationFile open(const std::filesystem::path& path);
  CalibrationFile(CalibrationFile&&) noexcept;
  CalibrationFile& operator=(CalibrationFile&&) noexcept;
  ~CalibrationFile();

  struct Entry {
    std::string alias;  // the layer that has the same input; empty: none
    int64_t channels = 0;
    int64_t cols = 0;
    bool has_xtx = false;
    size_t calibrating_rows = 0;  // sampled
    size_t held_out_rows = 0;
    int64_t counted_rows = 0;  // in the sums of all steps
  };
  const std::filesystem::path& path() const;
  const CalibrationInfo& info() const;
  // By the name of the weight.
  const std::map<std::string, Entry>& layers() const;
  // The layer whose data hold for `name`: itself, or its alias.
  const std::string& data_of(const std::string& name) const;

  // One layer's data. Any thread may call it. Pre: `name` is in layers(), and not an alias. Throws:
  // Error(Io); Error(Metadata) naming layer, step and what is wrong: sizes that do not match,
  // values that are not finite.
  LayerCalibration read(const std::string& name) const;
  // The same without X^T X.
  LayerCalibration read_rows(const std::string& name) const;

 private:
  struct Impl;
  explicit CalibrationFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace arrow_quant
