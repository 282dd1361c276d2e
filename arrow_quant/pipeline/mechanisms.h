// Mechanisms: which of the mechanisms that a config turns on take part in a run, and why the others
// do not. The one place where these reasons are made; what a mechanism does is not its business.
#pragma once

#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/io/calibration_file.h"
#include "arrow_quant/io/layer_report.h"

namespace arrow_quant {

struct Mechanism {
  bool asked = false;  // its option is on
  bool applied = false;
  std::string reason;  // why it was not applied, in words; "" if it was
};

struct Mechanisms {
  Mechanism time_aware;
  Mechanism spatial;
  Mechanism thermodynamic;
  Mechanism low_rank;
  std::string calibration = "none";   // or the file whose data were used
  std::vector<std::string> warnings;  // of what was asked for beyond the defaults and cannot be
};

// calibration: the file in use; null: none.
Mechanisms choose_mechanisms(const DiffusionQuantConfig& config,
                             const CalibrationFile* calibration);

// Completes what only the finished layers tell: whether any of them was transformed.
void complete(Mechanisms& mechanisms, const DiffusionQuantConfig& config,
              const std::vector<LayerReport>& layers);

}  // namespace arrow_quant
