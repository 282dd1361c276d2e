// Mechanisms: which of the mechanisms that a config turns on take part in a run, and why the others
// do not. The one place where these reasons are made; what a mechanism does is not its business.
#pragma once

#include <string>
#include <vector>

#include "arrow_quant/config/config.h"

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
  std::string calibration = "none";   // or the file whose data were used
  std::vector<std::string> warnings;  // of what was asked for beyond the defaults and cannot be
};

// Throws: Error(Configuration) if there is no file at calibration_path.
Mechanisms choose_mechanisms(const DiffusionQuantConfig& config);

}  // namespace arrow_quant
