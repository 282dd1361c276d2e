#include "option_values.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <type_traits>
#include <variant>

#include "arrow_quant/core/error.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;

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

[[noreturn]] void refuse(std::string_view option, nb::handle value) {
  throw Error(ErrorCode::Configuration,
              std::string(option) + " = " + repr_text(value) + ": type " +
                  text(value.type().attr("__name__")) +
                  " is not understood; allowed are None, bool, int, float, str, os.PathLike, list "
                  "of str, dict from str to int");
}

NamedInts named_ints_from(std::string_view option, const nb::dict& dict) {
  NamedInts map;
  for (const auto& [key, value] : dict) {
    if (!nb::isinstance<nb::str>(key) || PyBool_Check(value.ptr()) || !PyIndex_Check(value.ptr())) {
      refuse(option, dict);
    }
    const ConfigValue number = number_from(value);
    if (!std::holds_alternative<int64_t>(number)) {
      refuse(option, dict);
    }
    map.emplace_back(nb::cast<std::string>(key), std::get<int64_t>(number));
  }
  return map;
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
    case OptionKind::IntMap:
      return "dict[str, int]";
  }
  return "object";
}

struct ToPython {
  nb::object operator()(std::monostate) const { return nb::none(); }
  nb::object operator()(const NamedInts& map) const {
    nb::dict dict;
    for (const auto& [name, number] : map) {
      dict[name.c_str()] = number;
    }
    return dict;
  }
  template <class T>
  nb::object operator()(const T& value) const {
    return nb::cast(value);
  }
};

}  // namespace

std::string text(nb::handle value) {
  return nb::cast<std::string>(nb::str(value));
}

std::string repr_text(nb::handle value) {
  return nb::cast<std::string>(nb::repr(value));
}

nb::object to_python(const ConfigValue& value) {
  return std::visit(ToPython(), value);
}

ConfigValue from_python(std::string_view option, nb::handle value) {
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
  if (nb::hasattr(value, "__fspath__")) {
    const nb::object path = nb::steal(PyOS_FSPath(value.ptr()));
    if (!path.is_valid()) {
      throw nb::python_error();
    }
    return from_python(option, path);
  }
  if (nb::isinstance<nb::dict>(value)) {
    return named_ints_from(option, nb::cast<nb::dict>(value));
  }
  std::vector<std::string> strings;
  if (nb::isinstance<nb::bytes>(value) || !nb::try_cast(value, strings)) {
    refuse(option, value);
  }
  return strings;
}

std::string type_text(const FieldDoc& field) {
  return std::string(type_name(field.kind)) + (field.nullable ? " | None" : "");
}

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('.') + 1);
}

}  // namespace arrow_quant::python
