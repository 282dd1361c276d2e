#include "arrow_quant/diffusion/transition_error.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "arrow_quant/diffusion/activation_quantizer.h"
#include "arrow_quant/kernels/kernels.h"

namespace arrow_quant {
namespace {

using Mixed = WeightSketch::Mixed;

constexpr double kLeastClip = 0.05;
constexpr double kLeastWidth = 1e-6;  // of a range, in mean widths

double largest_code(int bits) {
  return (1 << bits) - 1;
}

double dot(const Mixed& a, const Mixed& b) {
  double sum = 0;
  for (size_t s = 0; s < a.size(); ++s) {
    sum += a[s] * b[s];
  }
  return sum;
}

Mixed sum(const Mixed& a, double factor, const Mixed& b) {
  Mixed all;
  for (size_t s = 0; s < a.size(); ++s) {
    all[s] = a[s] + factor * b[s];
  }
  return all;
}

// What is the same for all calibrating rows, whatever the quantizer.
class RowOutputs {
 public:
  explicit RowOutputs(const TransitionRows& rows) : rows_(rows), outputs_(count()) {
    rows.sketch->apply(rows.calibrating, outputs_);
  }

  size_t count() const { return rows_.calibrating.size() / cols(); }
  size_t cols() const { return rows_.sketch->cols(); }
  std::span<const float> row(size_t r) const {
    return rows_.calibrating.subspan(r * cols(), cols());
  }
  const Mixed& output(size_t r) const { return outputs_[r]; }
  const TransitionRows& rows() const { return rows_; }
  int bits() const { return rows_.bits; }

  // Of each calibrating row; grid(r): of row r, its rows stay as they are where it has no step.
  template <class GridOfRow>
  std::vector<Mixed> errors_of_outputs(GridOfRow&& grid) const {
    std::vector<float> errors(rows_.calibrating.size());
    for (size_t r = 0; r < count(); ++r) {
      const CodeGrid codes = grid(r);
      if (!(codes.step > 0)) continue;
      kernels::grid_errors(row(r).data(), cols(),
                           {static_cast<float>(codes.step), static_cast<float>(codes.lo), 0,
                            static_cast<float>(largest_code(codes.bits))},
                           errors.data() + r * cols());
    }
    std::vector<Mixed> mixed(count());
    rows_.sketch->apply(errors, mixed);
    return mixed;
  }
  // Of held-out rows; quantize(rows, errors) writes Q(x) − x.
  template <class Quantize>
  std::optional<double> held_out_error(Quantize&& quantize) const {
    if (rows_.held_out.empty()) return std::nullopt;
    std::vector<float> errors(rows_.held_out.size());
    quantize(rows_.held_out, std::span<float>(errors));
    std::vector<double> energies(errors.size() / cols());
    rows_.sketch->energies(errors, energies);
    return std::accumulate(energies.begin(), energies.end(), 0.0) /
           static_cast<double>(energies.size());
  }

 private:
  TransitionRows rows_;
  std::vector<Mixed> outputs_;
};

CodeGrid grid_of(const ValueRange& range, int bits) {
  return {range.lo, range.width() / largest_code(bits), bits};
}

// From slopes by lo and step to slopes by ln width and centre.
Slope range_slope(const GridSlope& slope, const ValueRange& range, int bits, double mean_width) {
  const double step = range.width() / largest_code(bits);
  return {slope.value,
          {slope.by_step * step - slope.by_lo * range.width() / 2, slope.by_lo * mean_width}};
}

Slope share_of_bits(Slope entropy, int bits) {
  entropy.value /= bits;
  for (double& slope : entropy.gradient) slope /= bits;
  return entropy;
}

Coordinates range_with_zero(const Coordinates& u, double mean_width) {
  const double log_width = std::max(u[0], std::log(kLeastWidth * mean_width));
  const double half = std::exp(log_width) / 2 / mean_width;
  return {log_width, std::clamp(u[1], -half, half)};
}

class StaticRowError : public TransitionError {
 public:
  StaticRowError(const TransitionRows& rows, double mean_width)
      : outputs_(rows),
        mean_width_(mean_width),
        ones_(rows.sketch->apply(std::vector<float>(rows.sketch->cols(), 1.0f))),
        values_(ValueHistogram::of(rows.calibrating)) {}

  double weight() const override { return static_cast<double>(outputs_.count()); }

  Slope error(const Coordinates& u) const override {
    const ValueRange range = range_at(u, mean_width_);
    const CodeGrid grid = grid_of(range, outputs_.bits());
    const double per_row = 1 / weight();
    Slope slope;
    const std::vector<Mixed> errors = outputs_.errors_of_outputs([&](size_t) { return grid; });
    for (size_t r = 0; r < outputs_.count(); ++r) {
      const Mixed& error = errors[r];
      const double squared = dot(error, error);
      slope.value += per_row * squared;
      const Mixed from_centre = sum(outputs_.output(r), -range.centre(), ones_);
      slope.gradient[0] += 2 * per_row * (squared + dot(error, from_centre));
      slope.gradient[1] += 2 * per_row * mean_width_ * dot(error, ones_);
    }
    return slope;
  }

  Slope code_use(const Coordinates& u) const override {
    const ValueRange range = range_at(u, mean_width_);
    const GridSlope entropy = values_.entropy(grid_of(range, outputs_.bits()));
    return share_of_bits(range_slope(entropy, range, outputs_.bits(), mean_width_),
                         outputs_.bits());
  }

  std::optional<double> held_out_error(const Coordinates& u) const override {
    const int bits = outputs_.bits();
    const StaticQuantizer quantizer = static_quantizer(range_at(u, mean_width_), bits);
    return outputs_.held_out_error([&](std::span<const float> rows, std::span<float> errors) {
      static_errors(rows, quantizer, bits, errors);
    });
  }

  Coordinates allowed(const Coordinates& u) const override {
    return range_with_zero(u, mean_width_);
  }

 private:
  RowOutputs outputs_;
  double mean_width_;
  Mixed ones_;
  ValueHistogram values_;
};

class DynamicRowError : public TransitionError {
 public:
  explicit DynamicRowError(const TransitionRows& rows)
      : outputs_(rows), values_(ValueHistogram::of(std::vector<float>{0})) {
    std::vector<float> in_widths;
    size_t rows_with_width = 0;
    for (size_t r = 0; r < outputs_.count(); ++r) {
      const std::span<const float> row = outputs_.row(r);
      const auto [least, largest] = std::minmax_element(row.begin(), row.end());
      const ValueRange range = {std::min(0.0f, *least), std::max(0.0f, *largest)};
      ranges_.push_back(range);
      if (range.width() <= 0) continue;
      ++rows_with_width;
      mean_lo_ += range.lo / range.width();
      for (const float x : row) in_widths.push_back(static_cast<float>(x / range.width()));
    }
    if (rows_with_width > 0) {
      mean_lo_ /= static_cast<double>(rows_with_width);
      values_ = ValueHistogram::of(in_widths);
    }
  }

  double weight() const override { return static_cast<double>(outputs_.count()); }

  Slope error(const Coordinates& u) const override {
    const double clip = clip_at(u);
    const double per_row = 1 / weight();
    Slope slope;
    const std::vector<Mixed> errors = outputs_.errors_of_outputs([&](size_t r) {
      return grid_of({clip * ranges_[r].lo, clip * ranges_[r].hi}, outputs_.bits());
    });
    for (size_t r = 0; r < outputs_.count(); ++r) {
      const Mixed& error = errors[r];
      const double squared = dot(error, error);
      slope.value += per_row * squared;
      slope.gradient[0] += 2 * per_row * (squared + dot(error, outputs_.output(r)));
    }
    return slope;
  }

  // Of all rows' values in widths of their rows, on the grid of a row whose lo is the mean one.
  Slope code_use(const Coordinates& u) const override {
    const double clip = clip_at(u);
    const CodeGrid grid = grid_of({clip * mean_lo_, clip * (mean_lo_ + 1)}, outputs_.bits());
    const GridSlope entropy = values_.entropy(grid);
    return share_of_bits(
        {entropy.value, {entropy.by_lo * grid.lo + entropy.by_step * grid.step, 0}},
        outputs_.bits());
  }

  std::optional<double> held_out_error(const Coordinates& u) const override {
    return outputs_.held_out_error([&](std::span<const float> rows, std::span<float> errors) {
      dynamic_errors(rows, outputs_.cols(), static_cast<float>(clip_at(u)), outputs_.bits(),
                     errors);
    });
  }

  Coordinates allowed(const Coordinates& u) const override {
    return {std::clamp(u[0], std::log(kLeastClip), 0.0), 0};
  }

 private:
  RowOutputs outputs_;
  std::vector<ValueRange> ranges_;  // of each row, with 0
  double mean_lo_ = 0;              // of the rows, in their widths
  ValueHistogram values_;           // in their rows' widths
};

class HistogramError : public TransitionError {
 public:
  HistogramError(TransitionHistograms histograms, double mean_width)
      : histograms_(std::move(histograms)), mean_width_(mean_width) {}

  double weight() const override { return histograms_.weight; }

  Slope error(const Coordinates& u) const override {
    const ValueRange range = range_at(u, mean_width_);
    return range_slope(histograms_.calibrating.distortion(grid_of(range, histograms_.bits)), range,
                       histograms_.bits, mean_width_);
  }

  Slope code_use(const Coordinates& u) const override {
    const ValueRange range = range_at(u, mean_width_);
    const GridSlope entropy = histograms_.calibrating.entropy(grid_of(range, histograms_.bits));
    return share_of_bits(range_slope(entropy, range, histograms_.bits, mean_width_),
                         histograms_.bits);
  }

  std::optional<double> held_out_error(const Coordinates& u) const override {
    if (!histograms_.held_out) return std::nullopt;
    const StaticQuantizer quantizer = static_quantizer(range_at(u, mean_width_), histograms_.bits);
    const double scale = quantizer.scale;
    return histograms_.held_out
        ->distortion({-scale * quantizer.zero_point, scale, histograms_.bits})
        .value;
  }

  Coordinates allowed(const Coordinates& u) const override {
    return range_with_zero(u, mean_width_);
  }

 private:
  TransitionHistograms histograms_;
  double mean_width_;
};

}  // namespace

Coordinates range_coordinates(const ValueRange& range, double mean_width) {
  return {std::log(range.width()), range.centre() / mean_width};
}

ValueRange range_at(const Coordinates& u, double mean_width) {
  const double half = std::exp(u[0]) / 2;
  return {u[1] * mean_width - half, u[1] * mean_width + half};
}

Coordinates clip_coordinates(double clip) {
  return {std::log(clip), 0};
}

double clip_at(const Coordinates& u) {
  return std::exp(u[0]);
}

std::unique_ptr<TransitionError> static_row_error(const TransitionRows& rows, double mean_width) {
  return std::make_unique<StaticRowError>(rows, mean_width);
}

std::unique_ptr<TransitionError> dynamic_row_error(const TransitionRows& rows) {
  return std::make_unique<DynamicRowError>(rows);
}

std::unique_ptr<TransitionError> histogram_error(TransitionHistograms histograms,
                                                 double mean_width) {
  return std::make_unique<HistogramError>(std::move(histograms), mean_width);
}

}  // namespace arrow_quant
