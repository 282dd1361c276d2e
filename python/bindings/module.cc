#include <nanobind/nanobind.h>

#include "bindings.h"
#include "errors.h"

NB_MODULE(_core, module) {
  module.doc() = "The compiled part of arrow_quant_v2. Import arrow_quant_v2 instead.";
  // What still lives when the interpreter ends is the program's choice, and not worth a report.
  nanobind::set_leak_warnings(false);
  arrow_quant::python::bind_errors();
  arrow_quant::python::bind_thermodynamic(module);
  arrow_quant::python::bind_logging();
  arrow_quant::python::bind_config(module);
  arrow_quant::python::bind_arrow(module);
  arrow_quant::python::bind_quantizer(module);
  arrow_quant::python::bind_tensors(module);
  arrow_quant::python::bind_revise(module);
}
