// The parts of the extension module, one per file. They convert, release the GIL and call.
#pragma once

#include <nanobind/nanobind.h>

namespace arrow_quant::python {

void bind_arrow(nanobind::module_& module);
void bind_thermodynamic(nanobind::module_& module);
void bind_logging();
void bind_config(nanobind::module_& module);
void bind_quantizer(nanobind::module_& module);
void bind_revise(nanobind::module_& module);
void bind_tensors(nanobind::module_& module);

}  // namespace arrow_quant::python
