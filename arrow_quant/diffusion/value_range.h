// ValueRange: what a tensor's values lie between. Its width in logarithms and its centre are the
// coordinates in which ranges are compared, interpolated and optimized.
#pragma once

namespace arrow_quant {

struct ValueRange {
  double lo = 0;
  double hi = 0;  // ≥ lo

  double width() const { return hi - lo; }
  double centre() const { return (hi + lo) / 2; }

  bool operator==(const ValueRange&) const = default;
};

}  // namespace arrow_quant
