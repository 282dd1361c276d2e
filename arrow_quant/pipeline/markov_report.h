// MarkovReport of a run, from what its layers recorded.
#pragma once

#include <optional>
#include <span>

#include "arrow_quant/diffusion/thermodynamic.h"
#include "arrow_quant/pipeline/result.h"

namespace arrow_quant {

// Unset where phase 1 is off, or no layer's inputs are quantized.
std::optional<MarkovReport> markov_report(std::span<const LayerReport> layers,
                                          const ValidationConfig& config);

// Logs each violation as a warning.
void log_violations(const MarkovReport& report);

}  // namespace arrow_quant
