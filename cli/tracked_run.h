// TrackedRun: what accompanies long work on the command line, namely a progress bar on standard
// error and a clean stop on signals.
#pragma once

#include <filesystem>

#include "arrow_quant/pipeline/orchestrator.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"

namespace arrow_quant::cli {

class TrackedRun {
 public:
  // model, config: what the work reads, so that its speed can be told.
  TrackedRun(bool quiet, const std::filesystem::path& model, const DiffusionQuantConfig& config);

  // For the one call that this run is about.
  RunHooks hooks();

 private:
  CancelToken cancel_;
  Interrupt interrupt_;
  ProgressBar bar_;
};

}  // namespace arrow_quant::cli
