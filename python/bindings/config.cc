// DiffusionQuantConfig, made from the library's list of options: arguments and attributes name no
// option here but the struct that some of them stand in.
#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "arrow_quant/config/environment.h"
#include "arrow_quant/config/options.h"
#include "arrow_quant/core/error.h"
#include "bindings.h"
#include "config_doc.h"
#include "option_values.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;

constexpr const char* kProfile = "deployment_profile";
constexpr const char* kStruct = "thermodynamic";

// The options of a ThermodynamicConfig beside those given by their flat names: one value.
void add_struct(nb::handle value, std::vector<GivenOption>& given) {
  if (value.is_none()) {
    return;
  }
  const ThermodynamicConfig* thermodynamic = nullptr;
  if (!nb::try_cast(value, thermodynamic) || thermodynamic == nullptr) {
    throw Error(ErrorCode::Configuration, std::string(kStruct) + " = " + repr_text(value) +
                                              ": a ThermodynamicConfig is needed");
  }
  DiffusionQuantConfig flat = apply_options(given);
  DiffusionQuantConfig whole = flat;
  whole.thermodynamic = *thermodynamic;
  for (const FieldDoc& field : config_field_docs()) {
    if (field.path.empty()) {
      continue;
    }
    const ConfigValue inside = config_get(whole, field.name);
    const ConfigValue beside = config_get(flat, field.name);
    const bool both = std::any_of(given.begin(), given.end(),
                                  [&](const GivenOption& o) { return o.name == field.name; });
    if (both && inside != beside) {
      throw Error(ErrorCode::Configuration,
                  field.name + " = " + repr_text(to_python(beside)) + ", but " + field.path +
                      " = " + repr_text(to_python(inside)) + ": they are one option, give it once");
    }
    if (!both) {
      given.push_back({field.name, inside, ""});
    }
  }
}

std::vector<GivenOption> given_options(const nb::args& args, const nb::kwargs& kwargs) {
  const std::vector<FieldDoc>& fields = config_field_docs();
  if (args.size() > num_positional_fields()) {
    throw nb::type_error(("only the options up to " + fields[num_positional_fields() - 1].name +
                          " may be given by position")
                             .c_str());
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
    if (text(key) == kStruct) {
      continue;
    }
    std::string name;
    try {
      name = config_field_name(text(key));
    } catch (const Error& error) {
      throw nb::type_error(error.what());  // as for any function without that argument
    }
    add(name, value);
  }
  if (kwargs.contains(kStruct)) {
    add_struct(kwargs[kStruct], given);
  }
  return given;
}

// What is given, then the environment, then the profile.
DiffusionQuantConfig with_environment(const std::vector<GivenOption>& given) {
  std::vector<GivenOption> all = environment_options();
  all.insert(all.end(), given.begin(), given.end());
  return apply_options(all);
}

nb::dict to_dict(const DiffusionQuantConfig& config) {
  nb::dict values;
  for (const FieldDoc& field : config_field_docs()) {
    values[field.name.c_str()] = to_python(config_get(config, field.name));
  }
  return values;
}

// Names what differs from the profile's defaults, so that eval() gives an equal config; also what
// differs from the environment's, where there is one.
std::string to_repr(const DiffusionQuantConfig& config) {
  const ConfigValue profile = config_get(config, kProfile);
  auto by_profile = DiffusionQuantConfig::from_profile(config.deployment_profile);
  auto by_environment = with_environment({{kProfile, profile, ""}});
  by_profile.deployment_profile = DiffusionQuantConfig().deployment_profile;
  by_environment.deployment_profile = with_environment({}).deployment_profile;
  std::string shown;
  for (const FieldDoc& field : config_field_docs()) {
    const ConfigValue value = config_get(config, field.name);
    if (value != config_get(by_profile, field.name) ||
        value != config_get(by_environment, field.name)) {
      shown += (shown.empty() ? "" : ", ") + field.name + "=" + repr_text(to_python(value));
    }
  }
  return "DiffusionQuantConfig(" + shown + ")";
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

void bind_files(nb::class_<DiffusionQuantConfig>& type) {
  type.def_static(
          "from_yaml", &DiffusionQuantConfig::from_yaml, "path"_a,
          nb::call_guard<nb::gil_scoped_release>(),
          "Reads a YAML file that maps option names to values, and validates it.\n\n"
          "What the file does not say comes from the environment, then from the profile.\n\n"
          "Raises\n------\nConfigurationError\n    Naming file, line, value and what is "
          "allowed.\nQuantizationError\n    If the file cannot be read.")
      .def("to_yaml", &DiffusionQuantConfig::to_yaml, "path"_a,
           nb::call_guard<nb::gil_scoped_release>(),
           "Writes every option to a YAML file, from which `from_yaml` makes an equal config.\n\n"
           "The file appears whole or not at all.\n\n"
           "Raises\n------\nConfigurationError\n    If an option is not allowed.\n"
           "QuantizationError\n    If the file cannot be written.");
}

}  // namespace

void bind_config(nb::module_& module) {
  nb::class_<DiffusionQuantConfig> type(module, "DiffusionQuantConfig");
  type.def("__init__",
           [](DiffusionQuantConfig* self, const nb::args& args, const nb::kwargs& kwargs) {
             new (self) DiffusionQuantConfig(with_environment(given_options(args, kwargs)));
           });
  for (const FieldDoc& field : config_field_docs()) {
    bind_attribute(type, field.name, field);
    if (!field.alias.empty()) {
      bind_attribute(type, field.alias, field);
    }
  }
  bind_files(type);
  type.def_rw(kStruct, &DiffusionQuantConfig::thermodynamic,
              "The options of the three phases: the values themselves, not a copy.")
      .def_static(
          "from_profile",
          [](const std::string& profile) {
            return with_environment({{kProfile, profile, ""}});
          },
          "profile"_a,
          "The defaults of a deployment profile: \"edge\", \"local\" or \"cloud\".\n\n"
          "Options that the environment sets win over the profile.\n\n"
          "Raises\n------\nConfigurationError\n    For another name.")
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
  type.attr("__signature__") = config_signature();
  type.attr("__doc__") = config_documentation();
  module.def("config_options", config_options,
             "A dict for each option: its names, type, default, and what is allowed.");
}

}  // namespace arrow_quant::python
