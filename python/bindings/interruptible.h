// Long work that Python may stop: by a signal, or by an exception in its progress callback.
#pragma once

#include <nanobind/nanobind.h>

#include <functional>

#include "arrow_quant/pipeline/orchestrator.h"

namespace arrow_quant::python {

// Runs `work` on a thread of its own, without the GIL, and returns when it has returned. Meanwhile
// the calling thread looks for signals. `progress_callback` is None or takes (str, float).
// Throws: what the callback or a signal handler raised, unchanged; else what `work` threw.
void run_interruptible(nanobind::handle progress_callback,
                       const std::function<void(const RunHooks&)>& work);

}  // namespace arrow_quant::python
