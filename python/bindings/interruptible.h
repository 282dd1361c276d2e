// Long work that Python may stop: by a signal, by an exception in its progress callback, or by a
// token that it cancels.
#pragma once

#include <nanobind/nanobind.h>

#include <functional>

#include "arrow_quant/pipeline/orchestrator.h"

namespace arrow_quant::python {

// What may accompany a call from Python.
struct Companions {
  nanobind::handle progress_callback = nanobind::none();  // None, or takes (str, float)
  CancelToken* cancel = nullptr;
  SharedResources* shared = nullptr;
};

// Runs `work` on a thread of its own, without the GIL, and returns when it has returned. Meanwhile
// the calling thread looks for signals.
// Throws: what the callback or a signal handler raised, unchanged; else what `work` threw.
void run_interruptible(const Companions& companions,
                       const std::function<void(const RunHooks&)>& work);

}  // namespace arrow_quant::python
