// ThermodynamicConfig and its parts. Their options are in the library's one list: a part is read
// and set by name through a whole config that holds it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <type_traits>
#include <vector>

#include "arrow_quant/config/options.h"
#include "arrow_quant/core/error.h"
#include "bindings.h"
#include "option_values.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;

template <class Part>
Part& part_of(DiffusionQuantConfig& config) {
  if constexpr (std::is_same_v<Part, ValidationConfig>) {
    return config.thermodynamic.validation;
  } else if constexpr (std::is_same_v<Part, BoundarySmoothingConfig>) {
    return config.thermodynamic.boundary_smoothing;
  } else {
    static_assert(std::is_same_v<Part, TransitionOptimizationConfig>);
    return config.thermodynamic.transition_optimization;
  }
}

// The options at paths below `path`.
std::vector<const FieldDoc*> fields_below(const std::string& path) {
  std::vector<const FieldDoc*> fields;
  for (const FieldDoc& field : config_field_docs()) {
    if (field.path.starts_with(path + ".")) {
      fields.push_back(&field);
    }
  }
  return fields;
}

template <class Part>
nb::object get(const Part& part, const FieldDoc& field) {
  DiffusionQuantConfig config;
  part_of<Part>(config) = part;
  return to_python(config_get(config, field.path));
}

template <class Part>
void set(Part& part, const FieldDoc& field, nb::handle value) {
  DiffusionQuantConfig config;
  part_of<Part>(config) = part;
  config_set(config, field.path, from_python(field.path, value));
  part = part_of<Part>(config);
}

template <class Part>
nb::dict state_of(const Part& part, const std::string& path) {
  nb::dict state;
  for (const FieldDoc* field : fields_below(path)) {
    state[last_part(field->path).c_str()] = get(part, *field);
  }
  return state;
}

template <class Part>
Part from_state(const nb::dict& values, const std::string& path) {
  Part part;
  for (const auto& [key, value] : values) {
    const std::string name = path + "." + text(key);
    const FieldDoc* known = nullptr;
    for (const FieldDoc* field : fields_below(path)) {
      known = field->path == name ? field : known;
    }
    if (known == nullptr) {
      throw nb::type_error(("unexpected argument '" + text(key) + "'").c_str());
    }
    set(part, *known, value);
  }
  return part;
}

template <class Part>
std::string part_repr(const Part& part, const char* name, const std::string& path) {
  std::string shown;
  for (const auto& [key, value] : state_of(part, path)) {
    shown += (shown.empty() ? "" : ", ") + text(key) + "=" + repr_text(value);
  }
  return std::string(name) + "(" + shown + ")";
}

std::string part_documentation(const char* summary, const std::string& path) {
  std::string doc = std::string(summary) + "\n\nParameters\n----------\n";
  for (const FieldDoc* field : fields_below(path)) {
    const bool says_more = !field->allowed.empty() && field->kind != OptionKind::Bool;
    doc += last_part(field->path) + " : " + type_text(*field) + ", default " +
           repr_text(to_python(field->default_value)) + "\n    " + field->doc +
           (says_more ? " (" + field->allowed + ")" : "") + "\n";
  }
  return doc;
}

// The inspect.Signature of a part's constructor.
nb::object part_signature(const std::string& path) {
  const nb::module_ inspect = nb::module_::import_("inspect");
  const nb::object parameter = inspect.attr("Parameter");
  nb::list parameters;
  for (const FieldDoc* field : fields_below(path)) {
    parameters.append(parameter(last_part(field->path), parameter.attr("KEYWORD_ONLY"),
                                "default"_a = to_python(field->default_value),
                                "annotation"_a = type_text(*field)));
  }
  return inspect.attr("Signature")(parameters);
}

template <class Part>
void bind_part(nb::module_& module, const char* name, const std::string& path,
               const char* summary) {
  nb::class_<Part> type(module, name);
  type.def("__init__", [path](Part* self, const nb::kwargs& kwargs) {
    new (self) Part(from_state<Part>(kwargs, path));
  });
  for (const FieldDoc* field : fields_below(path)) {
    type.def_prop_rw(
        last_part(field->path).c_str(), [field](const Part& part) { return get(part, *field); },
        [field](Part& part, nb::handle value) { set(part, *field, value); },
        nb::for_setter(nb::arg("value").none()), field->doc.c_str());
  }
  type.def("__repr__", [name, path](const Part& part) { return part_repr(part, name, path); })
      .def(
          "__eq__", [](const Part& a, const Part& b) { return a == b; }, nb::is_operator())
      .def("__getstate__", [path](const Part& part) { return state_of(part, path); })
      .def("__setstate__", [path](Part& self, const nb::dict& state) {
        new (&self) Part(from_state<Part>(state, path));
      });
  type.attr("__hash__") = nb::none();  // it can change
  type.attr("__signature__") = part_signature(path);
  type.attr("__doc__") = part_documentation(summary, path);
}

void init_thermodynamic(ThermodynamicConfig* self, const ValidationConfig* validation,
                        const BoundarySmoothingConfig* boundary_smoothing,
                        const TransitionOptimizationConfig* transition_optimization) {
  new (self) ThermodynamicConfig();
  if (validation) {
    self->validation = *validation;
  }
  if (boundary_smoothing) {
    self->boundary_smoothing = *boundary_smoothing;
  }
  if (transition_optimization) {
    self->transition_optimization = *transition_optimization;
  }
}

nb::tuple thermodynamic_state(const ThermodynamicConfig& config) {
  return nb::make_tuple(config.validation, config.boundary_smoothing,
                        config.transition_optimization);
}

std::string thermodynamic_repr(const ThermodynamicConfig& config) {
  const nb::tuple parts = thermodynamic_state(config);
  return "ThermodynamicConfig(validation=" + repr_text(parts[0]) +
         ", boundary_smoothing=" + repr_text(parts[1]) +
         ", transition_optimization=" + repr_text(parts[2]) + ")";
}

constexpr const char* kThermodynamicDoc =
    "How far parameters of neighbouring groups of timesteps may lie apart, in three phases.\n\n"
    "What is not given has its defaults, all of them off. Attributes are the parts themselves,\n"
    "not copies: setting one of theirs changes this.\n\n"
    "Parameters\n----------\n"
    "validation : ValidationConfig, optional\n"
    "boundary_smoothing : BoundarySmoothingConfig, optional\n"
    "transition_optimization : TransitionOptimizationConfig, optional\n";

}  // namespace

void bind_thermodynamic(nb::module_& module) {
  bind_part<ValidationConfig>(module, "ValidationConfig", "thermodynamic.validation",
                              "Phase 1: measures jumps between groups of timesteps.");
  bind_part<BoundarySmoothingConfig>(module, "BoundarySmoothingConfig",
                                     "thermodynamic.boundary_smoothing",
                                     "Phase 2: interpolates around boundaries of groups.");
  bind_part<TransitionOptimizationConfig>(
      module, "TransitionOptimizationConfig", "thermodynamic.transition_optimization",
      "Phase 3: chooses the parameters of all groups together.");
  nb::class_<ThermodynamicConfig> type(module, "ThermodynamicConfig", kThermodynamicDoc);
  type.def("__init__", init_thermodynamic, nb::kw_only(), "validation"_a = nb::none(),
           "boundary_smoothing"_a = nb::none(), "transition_optimization"_a = nb::none())
      .def_rw("validation", &ThermodynamicConfig::validation, "Phase 1.")
      .def_rw("boundary_smoothing", &ThermodynamicConfig::boundary_smoothing, "Phase 2.")
      .def_rw("transition_optimization", &ThermodynamicConfig::transition_optimization, "Phase 3.")
      .def("__repr__", thermodynamic_repr)
      .def(
          "__eq__",
          [](const ThermodynamicConfig& a, const ThermodynamicConfig& b) { return a == b; },
          nb::is_operator())
      .def("__getstate__", thermodynamic_state)
      .def("__setstate__", [](ThermodynamicConfig& self, const nb::tuple& parts) {
        init_thermodynamic(&self, nb::cast<ValidationConfig*>(parts[0]),
                           nb::cast<BoundarySmoothingConfig*>(parts[1]),
                           nb::cast<TransitionOptimizationConfig*>(parts[2]));
      });
  type.attr("__hash__") = nb::none();  // it can change
}

}  // namespace arrow_quant::python
