// ValueHistogram: how a tensor's values are spread, and what a grid of codes lo, lo + step, … makes
// of them. Its bins, filled evenly, make the use of codes a smooth function of the grid.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace arrow_quant {

// Of a function of a grid: its value, and its derivatives by lo and by step.
struct GridSlope {
  double value = 0;
  double by_lo = 0;
  double by_step = 0;
};

// Codes 0 … 2^bits − 1 stand for lo + step·code; each value takes the nearest.
struct CodeGrid {
  double lo = 0;
  double step = 1;  // > 0
  int bits = 8;     // 1 … 8
};

class ValueHistogram {
 public:
  // edges: [bins + 1], rising; mass: [bins], ≥ 0, not all 0. The mass is scaled to a sum of 1.
  ValueHistogram(std::vector<double> edges, std::vector<double> mass);

  // Bins of equal width between the extremes of values. Pre: not empty.
  static ValueHistogram of(std::span<const float> values, size_t bins = 1024);

  // D = Σ mass · (x − nearest)², x the middle of a bin. Its derivatives are exact although codes
  // flip: the nearest level is the one of least error, so D has no jump there (Danskin).
  GridSlope distortion(const CodeGrid& grid) const;

  // H = −Σ_k P_k·log2 P_k of the fractions P_k of values that have code k, in bits, 0 … grid.bits.
  // With density f at the thresholds t_k = lo + (k − ½)·step:
  //   dP_k/dlo = f(t_{k+1}) − f(t_k), dP_k/dstep = f(t_{k+1})·(k + ½) − f(t_k)·(k − ½)
  // and none at the two ends, which have no threshold.
  GridSlope entropy(const CodeGrid& grid) const;

 private:
  double share_below(double x) const;
  double density(double x) const;
  size_t bin_of(double x) const;

  std::vector<double> edges_;
  std::vector<double> mass_;
  std::vector<double> below_;  // [bins + 1]: mass below each edge
};

}  // namespace arrow_quant
