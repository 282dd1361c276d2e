// The runs: quantize_model, validate_quality, inspect_model. Results cross as JSON text, whose keys
// are spelled in one place, pipeline/result_json.h.
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <filesystem>
#include <string>

#include "arrow_quant/pipeline/inspect.h"
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
                          const DiffusionQuantConfig& config, nb::handle progress_callback) {
  const DiffusionOrchestrator orchestrator(config);
  std::string json;
  run_interruptible(progress_callback, [&](const RunHooks& hooks) {
    json = to_json(orchestrator.quantize_model(model_path, output_path, hooks));
  });
  return to_str(json);
}

nb::object validate_quality(const path& original_path, const path& quantized_path,
                            nb::handle progress_callback) {
  const DiffusionOrchestrator orchestrator;
  std::string json;
  run_interruptible(progress_callback, [&](const RunHooks& hooks) {
    json = to_json(orchestrator.validate_quality(original_path, quantized_path, hooks));
  });
  return to_str(json);
}

nb::object inspect(const path& model_path, const DiffusionQuantConfig& config) {
  const DiffusionQuantConfig copy = config;  // another thread may change it meanwhile
  std::string json;
  run_interruptible(nb::none(),
                    [&](const RunHooks&) { json = to_json(inspect_model(model_path, copy)); });
  return to_str(json);
}

}  // namespace

void bind_quantizer(nb::module_& module) {
  module.def("quantize_model", quantize_model, "model_path"_a, "output_path"_a, "config"_a,
             "progress_callback"_a.none(),
             nb::sig("def quantize_model(model_path: str | os.PathLike[str], "
                     "output_path: str | os.PathLike[str], config: DiffusionQuantConfig, "
                     "progress_callback: Callable[[str, float], object] | None) -> str"),
             "Quantizes a model; returns the result as JSON.");
  module.def("validate_quality", validate_quality, "original_path"_a, "quantized_path"_a,
             "progress_callback"_a.none(),
             nb::sig("def validate_quality(original_path: str | os.PathLike[str], "
                     "quantized_path: str | os.PathLike[str], "
                     "progress_callback: Callable[[str, float], object] | None) -> str"),
             "Measures a quantized model against its original; returns the result as JSON.");
  module.def("inspect_model", inspect, "path"_a, "config"_a,
             nb::sig("def inspect_model(path: str | os.PathLike[str], "
                     "config: DiffusionQuantConfig) -> str"),
             "Tells what is in a model, or what would become of it; returns JSON.");
}

}  // namespace arrow_quant::python
