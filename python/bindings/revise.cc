// revise_model: values that were learned in Python go into a finished model.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/revise_model.h"
#include "bindings.h"
#include "interruptible.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;
using nb::dlpack::dtype_code;
using std::filesystem::path;

using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

[[noreturn]] void refuse(const std::string& name, const std::string& problem) {
  throw Error(ErrorCode::ShapeMismatch, "tensor '" + name + "': " + problem);
}

// An array of `bits`-bit floats with `ndim` axes.
Array floats_of(const std::string& name, const std::string& what, nb::handle value, int bits,
                size_t ndim) {
  Array array;
  const nb::dlpack::dtype dtype = {static_cast<uint8_t>(dtype_code::Float),
                                   static_cast<uint8_t>(bits), 1};
  if (!nb::try_cast(value, array, /*convert=*/false) || array.ndim() != ndim ||
      array.dtype() != dtype) {
    refuse(name, what + ": expected a contiguous float" + std::to_string(bits) + " array of " +
                     std::to_string(ndim) + (ndim == 1 ? " axis" : " axes"));
  }
  return array;
}

BiasTable bias_table(const std::string& name, nb::handle value) {
  BiasTable table;
  if (value.is_none()) {
    return table;
  }
  const Array array = floats_of(name, "bias corrections", value, 16, 2);
  const auto* const halves = static_cast<const uint16_t*>(array.data());
  table.groups = static_cast<int32_t>(array.shape(0));
  table.values.assign(halves, halves + array.size());
  return table;
}

// (bits, mode, clip, scale, zero_point): the fields of ActivationParameters.
ActivationTable activation_table(const std::string& name, nb::handle value) {
  ActivationTable table;
  if (value.is_none()) {
    return table;
  }
  const auto fields = nb::cast<nb::tuple>(value);
  if (fields.size() != 5) {
    refuse(name, "activation parameters: expected (bits, mode, clip, scale, zero_point)");
  }
  table.bits = nb::cast<int>(fields[0]);
  const auto mode = parse_act_mode(nb::cast<std::string>(fields[1]));
  if (!mode) {
    throw Error(ErrorCode::Configuration,
                "tensor '" + name + "': the mode of its activation parameters is '" +
                    nb::cast<std::string>(fields[1]) + "', expected 'dynamic' or 'static'");
  }
  table.mode = *mode;
  const Array clip = floats_of(name, "clip", fields[2], 32, 1);
  const Array scale = floats_of(name, "scale", fields[3], 32, 1);
  const Array zero_point = floats_of(name, "zero_point", fields[4], 32, 1);
  if (scale.size() != clip.size() || zero_point.size() != clip.size()) {
    refuse(name, "clip, scale and zero_point have other lengths: " + std::to_string(clip.size()) +
                     ", " + std::to_string(scale.size()) + ", " +
                     std::to_string(zero_point.size()));
  }
  const auto at = [](const Array& array, size_t i) {
    return static_cast<const float*>(array.data())[i];
  };
  for (size_t i = 0; i < clip.size(); ++i) {
    table.ranges.push_back({at(clip, i), at(scale, i), at(zero_point, i)});
  }
  return table;
}

// time_groups: JSON; None leaves the component's, "" removes them. Tables that are None are
// removed.
void revise(const path& model, const path& out, const std::string& component,
            const std::optional<std::string>& time_groups, const nb::dict& bias_corrections,
            const nb::dict& activations, CancelToken* cancel) {
  Revision revision;
  revision.component = component;
  if (time_groups) {
    revision.time_groups.emplace();
    if (!time_groups->empty()) {
      *revision.time_groups = parse_time_groups(*time_groups, "revise_model");
    }
  }
  for (const auto& [key, value] : bias_corrections) {
    const auto name = nb::cast<std::string>(key);
    revision.bias_corrections[name] = bias_table(name, value);
  }
  for (const auto& [key, value] : activations) {
    const auto name = nb::cast<std::string>(key);
    revision.activations[name] = activation_table(name, value);
  }
  run_interruptible({nb::none(), cancel}, [&](const RunHooks& hooks) {
    revise_model(model, revision, out, hooks.cancel);
  });
}

}  // namespace

void bind_revise(nb::module_& module) {
  module.def(
      "revise_model", revise, "path"_a, "out"_a, "component"_a, "time_groups"_a.none(),
      "bias_corrections"_a, "activations"_a, "cancel"_a.none() = nb::none(),
      nb::sig("def revise_model(path: str | os.PathLike[str], out: str | os.PathLike[str], "
              "component: str, time_groups: str | None, "
              "bias_corrections: Mapping[str, NDArray[Any] | None], "
              "activations: Mapping[str, tuple[int, str, NDArray[Any], NDArray[Any], "
              "NDArray[Any]] | None], cancel: CancelToken | None = None) -> None"),
      "Writes a finished model with other corrections, activation parameters and time groups. "
      "time_groups: JSON, None leaves those that are there, '' removes them. A table is float16 "
      "[groups, rows] or (bits, mode, clip, scale, zero_point); None removes it.");
}

}  // namespace arrow_quant::python
