// DiffusionQuantConfig, made from the library's list of options: arguments, attributes, signature
// and documentation name no option here.
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "arrow_quant/config/options.h"
#include "arrow_quant/core/error.h"
#include "bindings.h"
#include "errors.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;

// The first options may be given by position; the others by name only.
constexpr size_t kNumPositional = 2;

std::string text(nb::handle value) {
  return nb::cast<std::string>(nb::str(value));
}

nb::object to_python(const ConfigValue& value) {
  return std::visit(
      [](const auto& held) -> nb::object {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::monostate>) {
          return nb::none();
        } else {
          return nb::cast(held);
        }
      },
      value);
}

// Numbers of numpy are numbers too. An integer beyond 64 bits becomes a double, which no option
// that takes integers accepts.
ConfigValue number_from(nb::handle value) {
  if (PyIndex_Check(value.ptr())) {
    const nb::object integer = nb::steal(PyNumber_Index(value.ptr()));
    int overflow = 0;
    const long long number =
        integer.is_valid() ? PyLong_AsLongLongAndOverflow(integer.ptr(), &overflow) : -1;
    if (PyErr_Occurred()) {
      throw nb::python_error();
    }
    return overflow == 0 ? ConfigValue(int64_t{number}) : ConfigValue(overflow * HUGE_VAL);
  }
  const double number = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred()) {
    throw nb::python_error();
  }
  return number;
}

ConfigValue from_python(std::string_view name, nb::handle value) {
  if (value.is_none()) {
    return std::monostate();
  }
  if (PyBool_Check(value.ptr())) {
    return value.is(nb::handle(Py_True));
  }
  if (nb::isinstance<nb::str>(value)) {
    return nb::cast<std::string>(value);
  }
  if (PyIndex_Check(value.ptr()) || nb::hasattr(value, "__float__")) {
    return number_from(value);
  }
  std::vector<std::string> strings;
  if (nb::isinstance<nb::bytes>(value) || !nb::try_cast(value, strings)) {
    throw Error(ErrorCode::Configuration,
                std::string(name) + " = " + text(nb::repr(value)) + ": type " +
                    text(value.type().attr("__name__")) +
                    " is not understood; allowed are None, bool, int, float, str, list of str");
  }
  return strings;
}

std::vector<GivenOption> given_options(const nb::args& args, const nb::kwargs& kwargs) {
  const std::vector<FieldDoc>& fields = config_field_docs();
  if (args.size() > kNumPositional) {
    throw nb::type_error("only bit_width and modality may be given by position");
  }
  std::vector<GivenOption> given;
  const auto add = [&](const std::string& name, nb::handle value) {
    for (const GivenOption& option : given) {
      if (option.name == name) {
        throw nb::type_error(("option " + name + " is given twice").c_str());
      }
    }
    given.push_back({name, from_python(name, value), ""});
  };
  for (size_t i = 0; i < args.size(); ++i) {
    add(fields[i].name, args[i]);
  }
  for (const auto& [key, value] : kwargs) {
    std::string name;
    try {
      name = config_field_name(text(key));
    } catch (const Error& error) {
      throw nb::type_error(error.what());  // as for any function without that argument
    }
    add(name, value);
  }
  return given;
}

nb::dict to_dict(const DiffusionQuantConfig& config) {
  nb::dict values;
  for (const FieldDoc& field : config_field_docs()) {
    values[field.name.c_str()] = to_python(config_get(config, field.name));
  }
  return values;
}

// Names what differs from the defaults of the profile, so that eval() gives an equal config.
std::string to_repr(const DiffusionQuantConfig& config) {
  auto defaults = DiffusionQuantConfig::from_profile(config.deployment_profile);
  defaults.deployment_profile = DiffusionQuantConfig().deployment_profile;
  std::string shown;
  for (const FieldDoc& field : config_field_docs()) {
    const ConfigValue value = config_get(config, field.name);
    if (value != config_get(defaults, field.name)) {
      shown += (shown.empty() ? "" : ", ") + field.name + "=" + text(nb::repr(to_python(value)));
    }
  }
  return "DiffusionQuantConfig(" + shown + ")";
}

const char* type_name(OptionKind kind) {
  switch (kind) {
    case OptionKind::Bool:
      return "bool";
    case OptionKind::Int:
      return "int";
    case OptionKind::Float:
      return "float";
    case OptionKind::String:
      return "str";
    case OptionKind::StringList:
      return "list[str]";
  }
  return "object";
}

std::string type_text(const FieldDoc& field) {
  return std::string(type_name(field.kind)) + (field.nullable ? " | None" : "");
}

std::string documentation() {
  std::string doc =
      "What a caller can choose about a run.\n\n"
      "What is not given has the default of the deployment profile. Each option is also an\n"
      "attribute, which can be set.\n\n"
      "Parameters\n----------\n";
  for (const FieldDoc& field : config_field_docs()) {
    doc += field.name + " : " + type_text(field) + ", default " +
           text(nb::repr(to_python(field.default_value))) + "\n    " + field.doc +
           (field.allowed.empty() || field.kind == OptionKind::Bool ? ""
                                                                    : " (" + field.allowed + ")") +
           (field.alias.empty() ? "" : "; also given as " + field.alias) + "\n";
  }
  return doc +
         "\nRaises\n------\n"
         "ConfigurationError\n    For a value of the wrong type or an unknown word. Ranges are\n"
         "    checked by `validate` and before every run.\n"
         "TypeError\n    For an option that does not exist.\n\n"
         "Examples\n--------\n"
         ">>> from arrow_quant_v2 import DiffusionQuantConfig\n"
         ">>> config = DiffusionQuantConfig(bit_width=2, group_size=64)\n"
         ">>> config.min_accuracy = 0.7\n"
         ">>> config\n"
         "DiffusionQuantConfig(bit_width=2, group_size=64, min_accuracy=0.7)\n"
         ">>> DiffusionQuantConfig.from_profile('edge').bit_width\n2\n";
}

// The inspect.Signature of the constructor.
nb::object signature() {
  const nb::module_ inspect = nb::module_::import_("inspect");
  const nb::object parameter = inspect.attr("Parameter");
  nb::list parameters;
  const auto add = [&](const std::string& name, const FieldDoc& field, const char* kind) {
    parameters.append(parameter(name, parameter.attr(kind),
                                "default"_a = to_python(field.default_value),
                                "annotation"_a = type_text(field)));
  };
  const std::vector<FieldDoc>& fields = config_field_docs();
  for (size_t i = 0; i < fields.size(); ++i) {
    add(fields[i].name, fields[i], i < kNumPositional ? "POSITIONAL_OR_KEYWORD" : "KEYWORD_ONLY");
  }
  for (const FieldDoc& field : fields) {
    if (!field.alias.empty()) {
      add(field.alias, field, "KEYWORD_ONLY");
    }
  }
  return inspect.attr("Signature")(parameters);
}

void bind_attribute(nb::class_<DiffusionQuantConfig>& type, const std::string& name,
                    const FieldDoc& field) {
  type.def_prop_rw(
      name.c_str(),
      [&field](const DiffusionQuantConfig& config) {
        return to_python(config_get(config, field.name));
      },
      [&field](DiffusionQuantConfig& config, nb::handle value) {
        config_set(config, field.name, from_python(field.name, value));
      },
      nb::for_setter(nb::arg("value").none()), field.doc.c_str());
}

DiffusionQuantConfig from_dict(const nb::dict& values) {
  DiffusionQuantConfig config;
  for (const auto& [key, value] : values) {
    const std::string name = text(key);
    config_set(config, name, from_python(name, value));
  }
  return config;
}

}  // namespace

void bind_config(nb::module_& module) {
  nb::class_<DiffusionQuantConfig> type(module, "DiffusionQuantConfig");
  type.def("__init__",
           [](DiffusionQuantConfig* self, const nb::args& args, const nb::kwargs& kwargs) {
             new (self) DiffusionQuantConfig(apply_options(given_options(args, kwargs)));
           });
  for (const FieldDoc& field : config_field_docs()) {
    bind_attribute(type, field.name, field);
    if (!field.alias.empty()) {
      bind_attribute(type, field.alias, field);
    }
  }
  type.def_static(
          "from_profile",
          [](const std::string& profile) {
            return apply_options({{"deployment_profile", profile, ""}});
          },
          "profile"_a,
          "The defaults of a deployment profile: \"edge\", \"local\" or \"cloud\".\n\n"
          "Raises\n------\nConfigurationError\n    For another name.")
      .def_static("from_yaml", &DiffusionQuantConfig::from_yaml, "path"_a,
                  nb::call_guard<nb::gil_scoped_release>(),
                  "Reads a YAML file that maps option names to values, and validates it.\n\n"
                  "Raises\n------\nConfigurationError\n    Naming file, line, value and what is "
                  "allowed.\nQuantizationError\n    If the file cannot be read.")
      .def("validate", &DiffusionQuantConfig::validate,
           "Checks every option against its range.\n\n"
           "Raises\n------\nConfigurationError\n    Naming option, value and what is allowed.")
      .def("to_dict", to_dict, "All options and their values, by name.")
      .def("__repr__", to_repr)
      .def(
          "__eq__",
          [](const DiffusionQuantConfig& a, const DiffusionQuantConfig& b) { return a == b; },
          nb::is_operator())
      .def("__getstate__", to_dict)
      .def("__setstate__", [](DiffusionQuantConfig& self, const nb::dict& values) {
        new (&self) DiffusionQuantConfig(from_dict(values));
      });
  type.attr("__hash__") = nb::none();  // it can change
  type.attr("__signature__") = signature();
  type.attr("__doc__") = documentation();
}

}  // namespace arrow_quant::python
