#include "config_doc.h"

#include <nanobind/stl/string.h>

#include "arrow_quant/config/environment.h"
#include "arrow_quant/config/options.h"
#include "option_values.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;

constexpr const char* kIntroduction =
    "What a caller can choose about a run.\n\n"
    "What is not given comes from the environment (``ARROW_QUANT_BIT_WIDTH=8``), then from the\n"
    "deployment profile. Each option is also an attribute, which can be set. Members of the\n"
    "enumerations and their strings are equal, and either may be given.\n\n"
    "Parameters\n----------\n";

constexpr const char* kThermodynamic =
    "thermodynamic : ThermodynamicConfig | None, default None\n"
    "    the options of the three phases as structs. The flat names above are views of it:\n"
    "    ``config.markov_weight`` is ``config.thermodynamic.transition_optimization"
    ".markov_weight``\n";

constexpr const char* kRest =
    "\nRaises\n------\n"
    "ConfigurationError\n    For a value of the wrong type or an unknown word, and for an option\n"
    "    given both ways with two values. Ranges are checked by `validate` and before every run.\n"
    "TypeError\n    For an option that does not exist.\n\n"
    "Examples\n--------\n"
    ">>> from arrow_quant_v2 import DiffusionQuantConfig\n"
    ">>> config = DiffusionQuantConfig(bit_width=2, group_size=64)\n"
    ">>> config.min_accuracy = 0.7\n"
    ">>> config\n"
    "DiffusionQuantConfig(bit_width=2, group_size=64, min_accuracy=0.7)\n"
    ">>> config.thermodynamic.validation.enabled = True\n"
    ">>> config.enable_markov_validation\n"
    "True\n"
    ">>> DiffusionQuantConfig.from_profile('edge').bit_width\n2\n";

std::string entry(const FieldDoc& field) {
  const bool says_more = !field.allowed.empty() && field.kind != OptionKind::Bool;
  return field.name + " : " + type_text(field) + ", default " +
         repr_text(to_python(field.default_value)) + "\n    " + field.doc +
         (says_more ? " (" + field.allowed + ")" : "") +
         (field.alias.empty() ? "" : "; also given as " + field.alias) + "\n";
}

}  // namespace

std::string config_documentation() {
  std::string doc = kIntroduction;
  for (const FieldDoc& field : config_field_docs()) {
    doc += entry(field);
  }
  return doc + kThermodynamic + kRest;
}

nb::object config_signature() {
  const nb::module_ inspect = nb::module_::import_("inspect");
  const nb::object parameter = inspect.attr("Parameter");
  nb::list parameters;
  const auto add = [&](const std::string& name, const nb::object& default_value,
                       const std::string& type, bool positional) {
    parameters.append(
        parameter(name, parameter.attr(positional ? "POSITIONAL_OR_KEYWORD" : "KEYWORD_ONLY"),
                  "default"_a = default_value, "annotation"_a = type));
  };
  const std::vector<FieldDoc>& fields = config_field_docs();
  for (size_t i = 0; i < fields.size(); ++i) {
    add(fields[i].name, to_python(fields[i].default_value), type_text(fields[i]),
        i < num_positional_fields());
  }
  for (const FieldDoc& field : fields) {
    if (!field.alias.empty()) {
      add(field.alias, to_python(field.default_value), type_text(field), false);
    }
  }
  add("thermodynamic", nb::none(), "ThermodynamicConfig | None", false);
  return inspect.attr("Signature")(parameters);
}

nb::list config_options() {
  nb::list options;
  for (const FieldDoc& field : config_field_docs()) {
    nb::dict option;
    option["name"] = field.name;
    option["alias"] = field.alias;
    option["path"] = field.path;
    option["flags"] = field.flags;
    option["environment"] = environment_variable(field.name);
    option["type"] = type_text(field);
    option["allowed"] = field.allowed;
    option["default"] = to_python(field.default_value);
    option["doc"] = field.doc;
    options.append(option);
  }
  return options;
}

}  // namespace arrow_quant::python
