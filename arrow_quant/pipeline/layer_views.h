// LayerViews: the calibration data of one layer, and its inputs under the transforms that are worth
// trying when it is quantized.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/calibration_file.h"
#include "arrow_quant/quant/trial.h"

namespace arrow_quant {

// A way to quantize a layer, and what it is called.
struct NamedTreatment {
  std::string name;  // "mse", "gptq+importance, hadamard"
  Treatment treatment;
  // It is taken only if its error is at most this share of the least without a transform.
  double gate = 1;
};

class LayerViews {
 public:
  struct Options {
    bool compensate = true;     // errors may be passed on
    bool rotate = false;        // a Hadamard matrix is tried
    int activation_bits = 0;    // of the layer's input when it runs; 0: it stays as it is
    std::string method;         // without calibration data: "mse"
    bool keep_squares = false;  // xtx() is wanted
  };

  // weight_abs_max: of the weight's columns; empty: no smoothing is tried. Cost: a factorization
  // for each transform. Throws: Error(Cancelled).
  LayerViews(LayerCalibration data, const CalibrationInfo& info, Options options,
             std::span<const float> weight_abs_max, const CancelToken* cancel);
  LayerViews(const LayerViews&) = delete;
  LayerViews& operator=(const LayerViews&) = delete;

  // The rows that the outputs of all treatments are compared on, untouched.
  InputRows held_out() const { return {held_out_, held_out_step_, cols_}; }
  size_t num_steps() const { return num_steps_; }
  // Σ xᵀx of the untouched inputs, the upper triangle with the diagonal, row by row; empty if it is
  // not wanted, or was not collected.
  std::span<const float> xtx() const { return xtx_; }

  // What is tried at `width`, the plain way first, those of a view after each other. They point
  // into this object.
  std::vector<NamedTreatment> treatments(BitWidth width) const;
  // The one with the least error that passes its gate.
  static size_t best_of(std::span<const NamedTreatment> treatments, std::span<const double> errors);

 private:
  struct NamedView {
    std::string name;
    double gate;
    InputView view;
  };

  void hold_out_powers(const LayerCalibration& data);
  void add_view(const LayerCalibration& data, const InputTransform& transform,
                const std::string& name, double gate, const CancelToken* cancel);

  Options options_;
  size_t cols_;
  size_t num_steps_;
  std::vector<float> held_out_;
  std::vector<int32_t> held_out_step_;
  std::vector<float> xtx_;
  std::deque<NamedView> views_;  // treatments point into it
};

}  // namespace arrow_quant
