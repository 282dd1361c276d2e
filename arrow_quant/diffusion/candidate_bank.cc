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

// quantize(candidate, errors) writes Q(x) − x of all rows.
template <class Quantize>
CandidateErrors errors_of(std::span<const float> rows, const WeightSketch& sketch,
                          size_t candidates, Quantize&& quantize) {
  const size_t count = rows.size() / sketch.cols();
  CandidateErrors found;
  found.candidates = candidates;
  found.errors.resize(count * candidates);
  found.energies.resize(count);
  sketch.energies(rows, found.energies);
  std::vector<float> errors(rows.size());
  std::vector<double> of_rows(count);
  for (size_t k = 0; k < candidates; ++k) {
    quantize(k, std::span<float>(errors));
    sketch.energies(errors, of_rows);
    for (size_t r = 0; r < count; ++r) found.errors[r * candidates + k] = of_rows[r];
  }
  return found;
}

}  // namespace

double clip_ratio(size_t candidate) {
  return static_cast<double>(20 - candidate) / 20;
}

ValueRange range_candidate(const ValueRange& calibrated, size_t candidate) {
  return {calibrated.lo * range_factor(candidate / kRangeFactors),
          calibrated.hi * range_factor(candidate % kRangeFactors)};
}

std::vector<double> CandidateErrors::costs(std::span<const size_t> rows) const {
  std::vector<double> sums(candidates);
  double energy = 0;
  for (const size_t row : rows) {
    energy += energies[row];
    for (size_t k = 0; k < candidates; ++k) sums[k] += errors[row * candidates + k];
  }
  for (double& sum : sums) sum = energy > 0 ? sum / energy : 0;
  return sums;
}

CandidateErrors clip_errors(std::span<const float> rows, int bits, const WeightSketch& sketch) {
  return errors_of(rows, sketch, kClipRatios, [&](size_t k, std::span<float> errors) {
    dynamic_errors(rows, sketch.cols(), static_cast<float>(clip_ratio(k)), bits, errors);
  });
}

CandidateErrors range_errors(std::span<const float> rows, const ValueRange& calibrated, int bits,
                             const WeightSketch& sketch) {
  return errors_of(rows, sketch, kRangeCandidates, [&](size_t k, std::span<float> errors) {
    static_errors(rows, static_quantizer(range_candidate(calibrated, k), bits), bits, errors);
  });
}

}  // namespace arrow_quant
