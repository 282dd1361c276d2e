// What the activation parameters of one group of timesteps cost a layer, as a function of
// coordinates in which a step of one size means the same everywhere, with exact derivatives.
//   Static quantization   u = (ln width of the range, its centre / mean width of the layer's
//   groups) Dynamic quantization  u = (ln clip ratio, 0)
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "arrow_quant/diffusion/value_histogram.h"
#include "arrow_quant/diffusion/value_range.h"
#include "arrow_quant/diffusion/weight_sketch.h"

namespace arrow_quant {

using Coordinates = std::array<double, 2>;

Coordinates range_coordinates(const ValueRange& range, double mean_width);  // of a width > 0
ValueRange range_at(const Coordinates& u, double mean_width);
Coordinates clip_coordinates(double clip);
double clip_at(const Coordinates& u);

struct Slope {
  double value = 0;
  Coordinates gradient = {};
};

class TransitionError {
 public:
  virtual ~TransitionError() = default;

  // How many calibrating rows, or how much mass, stand behind it; the weight of the group.
  virtual double weight() const = 0;
  // E, on the calibrating sample. Exact almost everywhere: of rows it jumps where a code flips.
  virtual Slope error(const Coordinates& u) const = 0;
  // Share of the codes' information that is used, H / bits, 0 … 1.
  virtual Slope code_use(const Coordinates& u) const = 0;
  // E on the held-out sample with the quantizer that a runtime gets: integer zero point, float32.
  // Unset where there is no held-out sample.
  virtual std::optional<double> held_out_error(const Coordinates& u) const = 0;
  // The nearest coordinates that mean something: a range that holds 0, a clip ratio of 0.05 … 1.
  virtual Coordinates allowed(const Coordinates& u) const = 0;
};

// Rows [n, cols] of one group, of calibrating and held-out trajectories; both and the sketch must
// outlive the result. E = mean over rows of ‖(x̂ − x)·Sᵀ‖². With d = x̂ − x and the codes held fixed
//   dE/du = 2 · mean of ⟨d·Sᵀ, (dx̂/du)·Sᵀ⟩,
//   static:  dx̂/du_0 = x̂ − centre, dx̂/du_1 = mean width;   dynamic: dx̂/du_0 = x̂.
// bits is 1 … 8, mean_width > 0; at least one calibrating row. An evaluation costs about 100
// operations per element of the rows.
struct TransitionRows {
  std::span<const float> calibrating;
  std::span<const float> held_out;
  const WeightSketch* sketch = nullptr;
  int bits = 8;
};
std::unique_ptr<TransitionError> static_row_error(const TransitionRows& rows, double mean_width);
std::unique_ptr<TransitionError> dynamic_row_error(const TransitionRows& rows);

// Static quantization where there are no rows: E is the distortion of the values' histogram. To
// speak for outputs, the mass of channel j should be weighted by ‖W[:, j]‖². weight: of the group.
struct TransitionHistograms {
  ValueHistogram calibrating;
  std::optional<ValueHistogram> held_out;
  double weight = 1;
  int bits = 8;
};
std::unique_ptr<TransitionError> histogram_error(TransitionHistograms histograms,
                                                 double mean_width);

}  // namespace arrow_quant
