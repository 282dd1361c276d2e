// The runs: quantize_model, validate_quality, inspect_model. Results cross as JSON text, whose keys
// are spelled in one place, pipeline/result_json.h.
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "arrow_quant/core/memory.h"
#include "arrow_quant/pipeline/inspect.h"
#include "arrow_quant/pipeline/memory_needs.h"
#include "arrow_quant/pipeline/orchestrator.h"
#include "arrow_quant/pipeline/result_json.h"
#include "bindings.h"
#include "errors.h"
#include "interruptible.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;
using std::filesystem::path;

nb::object quantize_model(const path& model_path, const path& output_path,
                          const DiffusionQuantConfig& config, nb::handle progress_callback,
                          CancelToken* cancel, SharedResources* shared) {
  const DiffusionOrchestrator orchestrator(config);
  std::string json;
  run_interruptible({progress_callback, cancel, shared}, [&](const RunHooks& hooks) {
    json = to_json(orchestrator.quantize_model(model_path, output_path, hooks));
  });
  return to_str(json);
}

nb::object validate_quality(const path& original_path, const path& quantized_path,
                            nb::handle progress_callback, CancelToken* cancel) {
  const DiffusionOrchestrator orchestrator(DiffusionQuantConfig{});
  std::string json;
  run_interruptible({progress_callback, cancel}, [&](const RunHooks& hooks) {
    json = to_json(orchestrator.validate_quality(original_path, quantized_path, hooks));
  });
  return to_str(json);
}

nb::object inspect(const path& model_path, const DiffusionQuantConfig& config) {
  const DiffusionQuantConfig copy = config;  // another thread may change it meanwhile
  std::string json;
  run_interruptible({}, [&](const RunHooks&) { json = to_json(inspect_model(model_path, copy)); });
  return to_str(json);
}

// For runs with these configs at the same time: the threads of the one that wants most, and as much
// memory as any of them may use.
void make_shared(SharedResources* self, const std::vector<DiffusionQuantConfig>& configs) {
  size_t num_threads = 1;
  uint64_t limit_bytes = 0;
  for (const DiffusionQuantConfig& config : configs) {
    num_threads = std::max(num_threads, wanted_threads(config));
    limit_bytes = std::max(limit_bytes, memory_limit_bytes(config, available_memory_bytes()));
  }
  new (self) SharedResources(num_threads, limit_bytes);
}

}  // namespace

void bind_quantizer(nb::module_& module) {
  nb::class_<CancelToken>(module, "CancelToken", "Asks running work to stop.")
      .def(nb::init<>())
      .def("cancel", &CancelToken::cancel, "From any thread; what was asked stays asked.")
      .def("check", &CancelToken::check, "Raises QuantizationError once it was asked.");
  nb::class_<SharedResources>(module, "SharedResources",
                              "Threads and memory of runs that go on at the same time.")
      .def("__init__", make_shared, "configs"_a)
      .def_prop_ro("num_threads", &SharedResources::num_threads, "That are at work at once.");
  module.def("quantize_model", quantize_model, "model_path"_a, "output_path"_a, "config"_a,
             "progress_callback"_a.none(), "cancel"_a.none() = nb::none(),
             "shared"_a.none() = nb::none(),
             nb::sig("def quantize_model(model_path: str | os.PathLike[str], "
                     "output_path: str | os.PathLike[str], config: DiffusionQuantConfig, "
                     "progress_callback: Callable[[str, float], object] | None, "
                     "cancel: CancelToken | None = None, "
                     "shared: SharedResources | None = None) -> str"),
             "Quantizes a model; returns the result as JSON.");
  module.def("validate_quality", validate_quality, "original_path"_a, "quantized_path"_a,
             "progress_callback"_a.none(), "cancel"_a.none() = nb::none(),
             nb::sig("def validate_quality(original_path: str | os.PathLike[str], "
                     "quantized_path: str | os.PathLike[str], "
                     "progress_callback: Callable[[str, float], object] | None, "
                     "cancel: CancelToken | None = None) -> str"),
             "Measures a quantized model against its original; returns the result as JSON.");
  module.def("inspect_model", inspect, "path"_a, "config"_a,
             nb::sig("def inspect_model(path: str | os.PathLike[str], "
                     "config: DiffusionQuantConfig) -> str"),
             "Tells what is in a model, or what would become of it; returns JSON.");
}

}  // namespace arrow_quant::python
