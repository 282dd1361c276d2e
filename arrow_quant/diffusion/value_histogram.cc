#include "arrow_quant/diffusion/value_histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace arrow_quant {
namespace {

constexpr double kNeverUsed = 1e-12;  // share of values below which a code's logarithm is left out
}  // namespace

ValueHistogram::ValueHistogram(std::vector<double> edges, std::vector<double> mass)
    : edges_(std::move(edges)), mass_(std::move(mass)), below_(mass_.size() + 1) {
  const double sum = std::accumulate(mass_.begin(), mass_.end(), 0.0);
  for (size_t i = 0; i < mass_.size(); ++i) {
    mass_[i] /= sum;
    below_[i + 1] = below_[i] + mass_[i];
  }
}

ValueHistogram ValueHistogram::of(std::span<const float> values, size_t bins) {
  const auto [least, largest] = std::minmax_element(values.begin(), values.end());
  const double lo = *least;
  const double width = *largest > *least ? static_cast<double>(*largest) - lo : 1;
  std::vector<double> edges(bins + 1), mass(bins);
  for (size_t i = 0; i <= bins; ++i) {
    edges[i] = lo + width * static_cast<double>(i) / static_cast<double>(bins);
  }
  for (const float value : values) {
    const double place = (value - lo) / width * static_cast<double>(bins);
    mass[std::min(static_cast<size_t>(place), bins - 1)] += 1;
  }
  return ValueHistogram(std::move(edges), std::move(mass));
}

size_t ValueHistogram::bin_of(double x) const {
  const auto above = std::upper_bound(edges_.begin(), edges_.end(), x);
  return static_cast<size_t>(above - edges_.begin()) - 1;
}

double ValueHistogram::share_below(double x) const {
  if (x <= edges_.front()) return 0;
  if (x >= edges_.back()) return 1;
  const size_t i = bin_of(x);
  return below_[i] + mass_[i] * (x - edges_[i]) / (edges_[i + 1] - edges_[i]);
}

double ValueHistogram::density(double x) const {
  if (x < edges_.front() || x >= edges_.back()) return 0;
  const size_t i = bin_of(x);
  return mass_[i] / (edges_[i + 1] - edges_[i]);
}

GridSlope ValueHistogram::distortion(const CodeGrid& grid) const {
  const double most = (1 << grid.bits) - 1;
  GridSlope slope;
  for (size_t i = 0; i < mass_.size(); ++i) {
    if (mass_[i] == 0) continue;
    const double x = (edges_[i] + edges_[i + 1]) / 2;
    const double code = std::clamp(std::nearbyint((x - grid.lo) / grid.step), 0.0, most);
    const double error = x - grid.lo - grid.step * code;
    slope.value += mass_[i] * error * error;
    slope.by_lo -= 2 * mass_[i] * error;
    slope.by_step -= 2 * mass_[i] * error * code;
  }
  return slope;
}

GridSlope ValueHistogram::entropy(const CodeGrid& grid) const {
  const int codes = 1 << grid.bits;
  GridSlope slope;
  double below = 0, density_below = 0;  // at the code's lower threshold
  for (int k = 0; k < codes; ++k) {
    const bool last = k + 1 == codes;
    const double threshold = grid.lo + (k + 0.5) * grid.step;
    const double above = last ? 1 : share_below(threshold);
    const double density_above = last ? 0 : density(threshold);
    const double share = above - below;
    if (share > kNeverUsed) {
      const double bits = std::log2(share);
      slope.value -= share * bits;
      slope.by_lo -= bits * (density_above - density_below);
      slope.by_step -= bits * (density_above * (k + 0.5) - density_below * (k - 0.5));
    }
    below = above;
    density_below = density_above;
  }
  return slope;
}

}  // namespace arrow_quant
