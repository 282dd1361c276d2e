#include "arrow_quant/diffusion/candidate_bank.h"

#include <cmath>

namespace arrow_quant {
namespace {

constexpr double kWidest = 1.1;
constexpr double kNarrowest = 0.12;

double range_factor(size_t index) {
  const double share = static_cast<double>(index) / static_cast<double>(kRangeFactors - 1);
  return kWidest * std::pow(kNarrowest / kWidest, share);
}

// The costs of `count` candidates; quantize(candidate, values) writes what stands for the rows.
template <class Quantize>
std::vector<double> costs_of(std::span<const float> rows, const WeightSketch& sketch, size_t count,
                             Quantize&& quantize) {
  std::vector<double> costs(count);
  const double energy = output_energy(rows, sketch);
  if (energy <= 0) return costs;
  std::vector<float> values(rows.size());
  for (size_t k = 0; k < count; ++k) {
    quantize(k, std::span<float>(values));
    costs[k] = output_error(rows, values, sketch) / energy;
  }
  return costs;
}

}  // namespace

double clip_ratio(size_t candidate) {
  return static_cast<double>(20 - candidate) / 20;
}

ValueRange range_candidate(const ValueRange& calibrated, size_t candidate) {
  return {calibrated.lo * range_factor(candidate / kRangeFactors),
          calibrated.hi * range_factor(candidate % kRangeFactors)};
}

std::vector<double> clip_costs(std::span<const float> rows, int bits, const WeightSketch& sketch) {
  return costs_of(rows, sketch, kClipRatios, [&](size_t k, std::span<float> values) {
    quantize_dynamic(rows, sketch.cols(), static_cast<float>(clip_ratio(k)), bits, values);
  });
}

std::vector<double> range_costs(std::span<const float> rows, const ValueRange& calibrated, int bits,
                                const WeightSketch& sketch) {
  return costs_of(rows, sketch, kRangeCandidates, [&](size_t k, std::span<float> values) {
    quantize_static(rows, static_quantizer(range_candidate(calibrated, k), bits), bits, values);
  });
}

double output_error(std::span<const float> rows, std::span<const float> values,
                    const WeightSketch& sketch) {
  std::vector<float> errors(sketch.cols());
  double sum = 0;
  for (size_t begin = 0; begin < rows.size(); begin += errors.size()) {
    for (size_t j = 0; j < errors.size(); ++j) {
      errors[j] = values[begin + j] - rows[begin + j];
    }
    sum += sketch.energy(errors);
  }
  return sum;
}

double output_energy(std::span<const float> rows, const WeightSketch& sketch) {
  double sum = 0;
  for (size_t begin = 0; begin < rows.size(); begin += sketch.cols()) {
    sum += sketch.energy(rows.subspan(begin, sketch.cols()));
  }
  return sum;
}

}  // namespace arrow_quant
