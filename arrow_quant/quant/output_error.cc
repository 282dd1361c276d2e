#include "arrow_quant/quant/output_error.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "arrow_quant/kernels/panels.h"

namespace arrow_quant {

using kernels::kPanelRows;

void OutputError::add(size_t step, double reference, double deployed) {
  Sums& sums = steps_[step];
  const double error = reference - deployed;
  sums.reference_sq += reference * reference;
  sums.deployed_sq += deployed * deployed;
  sums.dot += reference * deployed;
  sums.error_sq += error * error;
}

void OutputError::merge(const OutputError& next) {
  steps_.resize(std::max(steps_.size(), next.steps_.size()));
  for (size_t t = 0; t < next.steps_.size(); ++t) {
    steps_[t].reference_sq += next.steps_[t].reference_sq;
    steps_[t].deployed_sq += next.steps_[t].deployed_sq;
    steps_[t].dot += next.steps_[t].dot;
    steps_[t].error_sq += next.steps_[t].error_sq;
  }
}

double OutputError::relative() const {
  double sum = 0;
  size_t count = 0;
  for (const Sums& sums : steps_) {
    if (sums.reference_sq == 0) continue;
    sum += sums.error_sq / sums.reference_sq;
    ++count;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

double OutputError::cosine() const {
  Sums total;
  for (const Sums& sums : steps_) {
    total.reference_sq += sums.reference_sq;
    total.deployed_sq += sums.deployed_sq;
    total.dot += sums.dot;
  }
  if (total.reference_sq == 0 || total.deployed_sq == 0) {
    return total.reference_sq == total.deployed_sq ? 1.0 : 0.0;
  }
  const double cosine = total.dot / (std::sqrt(total.reference_sq) * std::sqrt(total.deployed_sq));
  return std::clamp(cosine, -1.0, 1.0);
}

double OutputError::sqnr_db() const {
  const double error = relative();
  return error == 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(error);
}

void OutputMeter::set_reference(const InputRows& inputs, const float* weights, size_t rows) {
  inputs_ = inputs;
  rows_ = rows;
  clear(reference_);
  multiply(inputs.x, weights, inputs.cols, reference_);
}

void OutputMeter::measure(std::span<const float> x, const float* weights, OutputError& error,
                          const Addition& addition) {
  clear(deployed_);
  multiply(x, weights, inputs_.cols, deployed_);
  if (addition.cols != 0) multiply(addition.x, addition.weights, addition.cols, deployed_);
  const float* reference = reference_.as<float>().data();
  const float* deployed = deployed_.as<float>().data();
  for (size_t r = 0; r < inputs_.count(); ++r) {
    const auto step = static_cast<size_t>(inputs_.step[r]);
    for (size_t lane = 0; lane < rows_; ++lane) {
      error.add(step, reference[r * kPanelRows + lane], deployed[r * kPanelRows + lane]);
    }
  }
}

void OutputMeter::clear(Buffer& out) const {
  const size_t count = inputs_.count() * kPanelRows;
  out.reserve(count * sizeof(float));
  std::memset(out.data(), 0, count * sizeof(float));
}

void OutputMeter::multiply(std::span<const float> x, const float* weights, size_t cols,
                           Buffer& out) {
  panel_.reserve(cols * kPanelRows * sizeof(float));
  float* panel = panel_.as<float>().data();
  kernels::load_panel(weights, cols, rows_, cols, panel);
  kernels::multiply_add({.a = x.data(),
                         .a_row_stride = cols,
                         .a_col_stride = 1,
                         .b = panel,
                         .b_stride = kPanelRows,
                         .c = out.as<float>().data(),
                         .c_stride = kPanelRows,
                         .rows = inputs_.count(),
                         .depth = cols,
                         .cols = kPanelRows});
}

}  // namespace arrow_quant
