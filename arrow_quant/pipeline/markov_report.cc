#include "arrow_quant/pipeline/markov_report.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "arrow_quant/core/log.h"

namespace arrow_quant {
namespace {

std::string text_of(const std::string& layer, const Violation& violation, double threshold) {
  char numbers[160];
  std::snprintf(numbers, sizeof numbers,
                ": its activation parameters jump by %.3g from group %zu to group %zu, above "
                "smoothness_threshold %g",
                violation.jump, violation.boundary, violation.boundary + 1, threshold);
  const std::string cause = violation.cause == JumpCause::SamplingNoise
                                ? "; so do those of two halves of the calibration data, so it may "
                                  "be chance"
                            : violation.cause == JumpCause::Real
                                ? "; the inputs of these groups do differ"
                                : "";
  return layer + numbers + cause;
}

}  // namespace

std::optional<MarkovReport> markov_report(std::span<const LayerReport> layers,
                                          const ValidationConfig& config) {
  if (!config.enabled) return std::nullopt;
  MarkovReport report;
  report.smoothness_threshold = config.smoothness_threshold;
  double scores = 0;
  for (const LayerReport& layer : layers) {
    if (!layer.markov) continue;
    const std::string name =
        layer.component.empty() ? layer.name : layer.component + "/" + layer.name;
    report.layers.emplace_back(name, *layer.markov);
    report.largest_jump = std::max(report.largest_jump, layer.markov->largest_jump);
    scores += layer.markov->score;
  }
  if (report.layers.empty()) return std::nullopt;
  report.score = scores / static_cast<double>(report.layers.size());
  return report;
}

void log_violations(const MarkovReport& report) {
  for (const auto& [name, diagnosis] : report.layers) {
    for (const Violation& violation : diagnosis.violations) {
      log(LogLevel::Warning, text_of(name, violation, report.smoothness_threshold));
    }
  }
}

}  // namespace arrow_quant
