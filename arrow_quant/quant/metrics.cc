#include "arrow_quant/quant/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace arrow_quant {

void ErrorStats::merge(const ErrorStats& next) {
  dot += next.dot;
  original_sq += next.original_sq;
  restored_sq += next.restored_sq;
  error_sq += next.error_sq;
  max_abs_error = std::max(max_abs_error, next.max_abs_error);
}

double ErrorStats::cosine() const {
  if (original_sq == 0 || restored_sq == 0) {
    return original_sq == restored_sq ? 1.0 : 0.0;
  }
  // The roots are taken apart, since the product of two small sums can vanish.
  const double cosine = dot / (std::sqrt(original_sq) * std::sqrt(restored_sq));
  return std::clamp(cosine, -1.0, 1.0);
}

double ErrorStats::sqnr_db() const {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (error_sq == 0) return kInfinity;
  if (original_sq == 0) return -kInfinity;
  return 10.0 * (std::log10(original_sq) - std::log10(error_sq));
}

}  // namespace arrow_quant
