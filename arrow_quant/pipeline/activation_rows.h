// ActivationRows: sampled inputs of one layer, step by step, and what quantizing them costs the
// layer's outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/value_range.h"
#include "arrow_quant/diffusion/weight_sketch.h"
#include "arrow_quant/io/block_extras.h"
#include "arrow_quant/io/calibration_file.h"

namespace arrow_quant {

// Which rows of a sample are meant, by their place in their step and their trajectory.
using RowFilter = std::function<bool(size_t place, int32_t trajectory)>;

// In the order of their steps; the rows of a step, and of steps that follow each other, lie
// together.
class ActivationRows {
 public:
  // Which rows are taken.
  struct Pick {
    std::function<bool(int32_t)> trajectory;  // empty: all
    size_t most_per_step = SIZE_MAX;          // the first ones of each step
  };

  // Of `steps` steps, each row of `cols` values. Pre: the sample's steps are below `steps`.
  ActivationRows(const SampledRows& sample, size_t cols, size_t steps, const Pick& pick);

  size_t cols() const { return cols_; }
  size_t steps() const { return begins_.size() - 1; }
  size_t count() const { return trajectories_.size(); }
  size_t count(size_t first_step, size_t end_step) const {
    return begins_[end_step] - begins_[first_step];
  }
  // [count(first_step, end_step), cols].
  std::span<const float> of_steps(size_t first_step, size_t end_step) const;
  std::span<const float> at(size_t step) const { return of_steps(step, step + 1); }
  // Of each row of a step.
  std::span<const int32_t> trajectories(size_t step) const;
  // Those with rows, rising.
  std::vector<int32_t> trajectories() const;

  ActivationRows where(const RowFilter& takes) const;

 private:
  ActivationRows(size_t cols, size_t steps) : cols_(cols), begins_(steps + 1) {}
  void append(size_t step, std::span<const float> row, int32_t trajectory);

  size_t cols_;
  std::vector<size_t> begins_;  // [steps + 1]: the first row of each step
  std::vector<float> x_;
  std::vector<int32_t> trajectories_;
};

// How inputs are quantized in one group of timesteps, or at one step.
struct ActivationParameter {
  double clip = 1;   // Dynamic
  ValueRange range;  // Static
  bool operator==(const ActivationParameter&) const = default;
};

struct ActivationScheme {
  ActMode mode = ActMode::Dynamic;  // not None
  int bits = 8;                     // 4 or 8
};

// What a layer's outputs lose by parameters, on some rows. Both arguments must outlive it.
class ActivationCost {
 public:
  ActivationCost(const ActivationRows& rows, const WeightSketch& sketch, ActivationScheme scheme);

  // The mean over steps with outputs of Σ ‖(Q(x) − x)·Sᵀ‖² / Σ ‖x·Sᵀ‖², S the sketch; 0 without
  // any. parameters: of each step.
  double of(std::span<const ActivationParameter> parameters) const;

 private:
  double energy(std::span<const float> rows) const;

  const ActivationRows& rows_;
  const WeightSketch& sketch_;
  ActivationScheme scheme_;
  std::vector<double> energies_;  // of each step
};

}  // namespace arrow_quant
