// How far the outputs of a quantized layer lie from those of the original, on sampled input rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "arrow_quant/core/buffer.h"

namespace arrow_quant {

// Sums over the outputs y of the original and y' of the quantized layer, by step of sampling.
class OutputError {
 public:
  explicit OutputError(size_t num_steps = 0) : steps_(num_steps) {}

  void add(size_t step, double reference, double deployed);
  // Adds what follows; in a fixed order, since sums depend on it.
  void merge(const OutputError& next);

  // Mean over the steps with outputs of Σ(y − y')² / Σy²: each counts alike, however large its
  // outputs are. 0 without outputs.
  double relative() const;
  // <y, y'> / (|y||y'|) over all steps; 1 without outputs.
  double cosine() const;
  // 10 · log10(1 / relative()), in dB.
  double sqnr_db() const;
  size_t num_steps() const { return steps_.size(); }

 private:
  struct Sums {
    double reference_sq = 0, deployed_sq = 0, dot = 0, error_sq = 0;
  };
  std::vector<Sums> steps_;
};

// Input rows [rows, cols], each with the step that it was sampled at.
struct InputRows {
  std::span<const float> x;
  std::span<const int32_t> step;
  size_t cols = 0;
  size_t count() const { return step.size(); }
};

// Outputs of a run of weight rows, at most 64 at a time.
class OutputMeter {
 public:
  // Outputs of the original: rows · cols weights, row-major, on `inputs`. Both stay as they are
  // until the last call of measure().
  void set_reference(const InputRows& inputs, const float* weights, size_t rows);
  // Inputs [count, cols] that are multiplied by weights of their own, [rows, cols]; their products
  // are added to the outputs.
  struct Addition {
    std::span<const float> x;
    const float* weights = nullptr;
    size_t cols = 0;  // at most those of the reference; 0: nothing is added
  };
  // Adds the outputs of other weights of the same size on other input rows [count, cols].
  void measure(std::span<const float> x, const float* weights, OutputError& error,
               const Addition& addition);
  void measure(std::span<const float> x, const float* weights, OutputError& error) {
    measure(x, weights, error, {});
  }

 private:
  void clear(Buffer& out) const;
  // Adds to `out`.
  void multiply(std::span<const float> x, const float* weights, size_t cols, Buffer& out);

  InputRows inputs_;
  size_t rows_ = 0;
  Buffer panel_, reference_, deployed_;
};

}  // namespace arrow_quant
