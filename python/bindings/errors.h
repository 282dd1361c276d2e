// The border for errors: arrow_quant::Error → the classes of arrow_quant_v2.errors.
#pragma once

#include <nanobind/nanobind.h>

#include <string_view>

namespace arrow_quant::python {

// Text that may hold bytes of a path: what is not UTF-8 becomes an escape instead of an error.
nanobind::object to_str(std::string_view text);

// From here on an Error that leaves a bound function is raised as its Python class.
void bind_errors();

}  // namespace arrow_quant::python
