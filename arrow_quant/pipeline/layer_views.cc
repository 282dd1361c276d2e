#include "arrow_quant/pipeline/layer_views.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "arrow_quant/diffusion/activation_quantizer.h"

namespace arrow_quant {
namespace {

// What a transform must save of the error to be taken: more than chance gives on a sample of rows.
constexpr double kSmoothingGate = 0.9;
constexpr double kRotationGate = 0.90;
constexpr double kSmoothingAlpha = 0.5;

// E[x²] of each column, up to a factor: from XᵀX where it was collected, else the mean over steps.
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

// The largest |x| of each column over all steps.
std::vector<float> abs_max_of(const LayerCalibration& layer) {
  const auto cols = static_cast<size_t>(layer.cols);
  const size_t per_channel = cols / static_cast<size_t>(layer.channels);
  std::vector<float> abs_max(cols);
  for (const StepSums& step : layer.steps) {
    if (step.min.empty() || step.max.empty()) continue;
    for (size_t i = 0; i < cols; ++i) {
      abs_max[i] = std::max(
          {abs_max[i], std::abs(step.min[i / per_channel]), std::abs(step.max[i / per_channel])});
    }
  }
  return abs_max;
}

std::vector<float> diagonal_of(const std::vector<float>& xtx, size_t cols) {
  std::vector<float> diagonal;
  for (size_t i = 0, at = 0; i < cols; at += cols - i, ++i) diagonal.push_back(xtx[at]);
  return diagonal;
}

// The name of a recipe on top of the method without calibration data.
std::string recipe_name(const std::string& method, const Recipe& recipe) {
  const std::string name = recipe.compensated ? "gptq" : method;
  return recipe.weighted_grid ? name + "+importance" : name;
}

}  // namespace

LayerViews::LayerViews(LayerCalibration data, const CalibrationInfo& info, Options options,
                       std::span<const float> weight_abs_max, const CancelToken* cancel)
    : options_(std::move(options)),
      cols_(static_cast<size_t>(data.cols)),
      num_steps_(info.steps.size()) {
  for (size_t r = 0; r < data.rows.count(); ++r) {
    if (!info.held_out(data.rows.trajectory[r])) continue;
    const auto row = data.rows.x.begin() + static_cast<std::ptrdiff_t>(r * cols_);
    held_out_.insert(held_out_.end(), row, row + static_cast<std::ptrdiff_t>(cols_));
    held_out_step_.push_back(data.rows.step[r]);
  }
  if (data.rows.count() == 0) {
    hold_out_powers(data);
    options_.activation_bits = 0;  // there is nothing to quantize
    options_.rotate = false;
    weight_abs_max = {};
  }
  add_view(data, {}, "", 1.0, cancel);
  std::vector<float> smooth;
  if (!weight_abs_max.empty()) {
    smooth = smoothing_scale(abs_max_of(data), weight_abs_max, kSmoothingAlpha);
    add_view(data, {smooth, 0}, "smoothing", kSmoothingGate, cancel);
  }
  const size_t block = options_.rotate ? usual_hadamard_block(cols_) : 0;
  if (block != 0) {
    add_view(data, {{}, block}, "hadamard", kRotationGate, cancel);
    if (!smooth.empty()) {
      add_view(data, {smooth, block}, "smoothing, hadamard", kSmoothingGate, cancel);
    }
  }
  if (options_.keep_squares) xtx_ = std::move(data.xtx);
}

// Without rows only the power of each input is known. Inputs that are independent of each other
// cost the outputs Σ_j E[x_j²] · error_j², which is what one row √E[x_j²] · e_j for each j adds up
// to.
void LayerViews::hold_out_powers(const LayerCalibration& data) {
  const std::vector<float> power = importance_of(data);
  if (power.empty()) return;
  held_out_.assign(cols_ * cols_, 0.0f);
  for (size_t c = 0; c < cols_; ++c) held_out_[c * cols_ + c] = std::sqrt(power[c]);
  held_out_step_.assign(cols_, 0);
}

void LayerViews::add_view(const LayerCalibration& data, const InputTransform& transform,
                          const std::string& name, double gate, const CancelToken* cancel) {
  InputView& view = views_.emplace_back(NamedView{name, gate, {}}).view;
  view.transform = transform;
  view.held_out = held_out_;
  transform_inputs(transform, view.held_out.data(), held_out_step_.size(), cols_);
  if (options_.activation_bits != 0) {
    quantize_dynamic(view.held_out, cols_, 1.0f, options_.activation_bits, view.held_out);
  }
  if (transform.identity()) {
    view.importance = importance_of(data);
    if (options_.compensate && !data.xtx.empty()) view.factor = factorize(data.xtx, cols_, cancel);
  } else if (!data.xtx.empty()) {
    const std::vector<float> xtx = transform_gram(transform, data.xtx, cols_);
    view.importance = diagonal_of(xtx, cols_);
    if (options_.compensate) view.factor = factorize(xtx, cols_, cancel);
  }
}

std::vector<NamedTreatment> LayerViews::treatments(BitWidth width) const {
  std::vector<NamedTreatment> treatments;
  for (const auto& [name, gate, view] : views_) {
    const auto add = [&, &view = view](Recipe recipe) {
      const std::string recipe_text = recipe_name(options_.method, recipe);
      treatments.push_back(
          {name.empty() ? recipe_text : recipe_text + ", " + name, {&view, recipe}, gate});
    };
    add({});
    if (width == BitWidth::Int8) continue;
    if (!view.importance.empty()) add({true, false});
    if (view.factor) {
      add({false, true});
      if (!view.importance.empty()) add({true, true});
    }
  }
  return treatments;
}

size_t LayerViews::best_of(std::span<const NamedTreatment> treatments,
                           std::span<const double> errors) {
  double without = errors[0];
  for (size_t i = 0; i < errors.size(); ++i) {
    if (treatments[i].treatment.view->transform.identity()) without = std::min(without, errors[i]);
  }
  size_t best = 0;
  for (size_t i = 1; i < errors.size(); ++i) {
    if (errors[i] < errors[best] && errors[i] <= treatments[i].gate * without) best = i;
  }
  return best;
}

}  // namespace arrow_quant
