#include "arrow_quant/diffusion/markov.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "arrow_quant/core/enum_names.h"

namespace arrow_quant {
namespace {

constexpr std::array<std::string_view, 3> kCauses = {"unknown", "sampling noise", "real"};

constexpr double kNoiseFactor = 2;     // of the noise floor; a jump below it may be chance
constexpr double kLeastShare = 1e-12;  // of a denominator: no jump is infinite
constexpr double kLeastNorm = 0x1p-500;

}  // namespace

double mean_width(std::span<const ValueRange> ranges) {
  double sum = 0;
  size_t count = 0;
  for (const ValueRange& range : ranges) {
    if (range.width() > 0) {
      sum += std::log(range.width());
      ++count;
    }
  }
  return count == 0 ? 1 : std::exp(sum / static_cast<double>(count));
}

double range_jump(const ValueRange& a, const ValueRange& b, double mean_width) {
  const double narrower = std::max(std::min(a.width(), b.width()), kLeastShare * mean_width);
  return std::max(std::abs(b.width() - a.width()) / narrower,
                  std::abs(b.centre() - a.centre()) / mean_width);
}

double clip_jump(double a, double b) {
  return std::abs(b - a) / std::min(a, b);
}

double bias_jump(std::span<const float> a, std::span<const float> b, double output_norm) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(b[i]) - static_cast<double>(a[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum) / std::max(output_norm, kLeastNorm);
}

double markov_score(std::span<const double> jumps, std::span<const double> couplings) {
  double lost = 0, whole = 0;
  for (size_t g = 0; g < jumps.size(); ++g) {
    lost += couplings[g] * std::min(1.0, jumps[g]);
    whole += couplings[g];
  }
  return whole > 0 ? 1 - lost / whole : 1;
}

std::string_view to_string(JumpCause cause) {
  return enum_name(kCauses, cause);
}

JumpCause cause_of(double jump, std::optional<double> noise_floor) {
  if (!noise_floor) return JumpCause::Unknown;
  return jump < kNoiseFactor * *noise_floor ? JumpCause::SamplingNoise : JumpCause::Real;
}

MarkovDiagnosis diagnose_jumps(std::span<const double> jumps, std::span<const double> couplings,
                               std::span<const double> noise_floors, double threshold) {
  MarkovDiagnosis diagnosis;
  diagnosis.score = markov_score(jumps, couplings);
  for (size_t g = 0; g < jumps.size(); ++g) {
    diagnosis.largest_jump = std::max(diagnosis.largest_jump, jumps[g]);
    if (!(jumps[g] > threshold)) continue;
    std::optional<double> noise_floor;
    if (!noise_floors.empty()) {
      noise_floor = std::max(noise_floors[g], noise_floors[g + 1]);
    }
    diagnosis.violations.push_back({g, jumps[g], noise_floor, cause_of(jumps[g], noise_floor)});
  }
  return diagnosis;
}

double swap_regret(double first, double first_with_second, double second,
                   double second_with_first) {
  return (first_with_second / first + second_with_first / second) / 2 - 1;
}

}  // namespace arrow_quant
