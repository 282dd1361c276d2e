// Option values at the border: Python objects ↔ the library's ConfigValue.
#pragma once

#include <nanobind/nanobind.h>

#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/config/options.h"

namespace arrow_quant::python {

// str() and repr() of an object.
std::string text(nanobind::handle value);
std::string repr_text(nanobind::handle value);

nanobind::object to_python(const ConfigValue& value);

// None, bool, int, float (numpy's too), str, os.PathLike, list of str, dict from str to int. An
// enumeration of str is a str. Throws: Error(Configuration) naming the option, for other types.
ConfigValue from_python(std::string_view option, nanobind::handle value);

// "int | None", as annotations have it.
std::string type_text(const FieldDoc& field);

// "markov_weight" of "thermodynamic.transition_optimization.markov_weight".
std::string last_part(const std::string& path);

}  // namespace arrow_quant::python
