#include "cli/tracked_run.h"

#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/inspect.h"

namespace arrow_quant::cli {
namespace {

ProgressBar::Style style_of(bool quiet) {
  return quiet ? ProgressBar::Style::None : ProgressBar::style_for(stderr);
}

// 0 where it cannot be told: the work itself then says why.
int64_t source_bytes_of(const std::filesystem::path& model, const DiffusionQuantConfig& config) {
  try {
    return inspect_model(model, config).source_bytes;
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace

TrackedRun::TrackedRun(bool quiet, const std::filesystem::path& model,
                       const DiffusionQuantConfig& config)
    : interrupt_(cancel_),
      bar_(stderr, style_of(quiet), quiet ? 0 : source_bytes_of(model, config)) {}

RunHooks TrackedRun::hooks() {
  RunHooks hooks;
  hooks.progress = [this](std::string_view message, double fraction) {
    bar_.update(message, fraction);
  };
  hooks.cancel = &cancel_;
  hooks.keep_unfinished = true;
  return hooks;
}

}  // namespace arrow_quant::cli
