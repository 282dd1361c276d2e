// What help() and inspect.signature() say of DiffusionQuantConfig, made from the list of options.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

namespace arrow_quant::python {

std::string config_documentation();
// An inspect.Signature.
nanobind::object config_signature();
// A dict for each option: everything that a table of them shows.
nanobind::list config_options();

}  // namespace arrow_quant::python
