// What the library says goes to logging.getLogger("arrow_quant_v2").
#include <nanobind/nanobind.h>

#include <string_view>

#include "arrow_quant/core/log.h"
#include "bindings.h"
#include "errors.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;

int python_level(LogLevel level) {
  switch (level) {
    case LogLevel::Debug:
      return 10;
    case LogLevel::Info:
      return 20;
    case LogLevel::Warning:
      break;
  }
  return 30;
}

// A handler that raises must not end a run.
void forward(nb::handle logger, LogLevel level, std::string_view message) {
  if (Py_IsInitialized() == 0) {
    return;
  }
  const nb::gil_scoped_acquire acquired;
  try {
    logger.attr("log")(python_level(level), "%s", to_str(message));
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("arrow_quant_v2: logging");
  }
}

}  // namespace

void bind_logging() {
  // Held for the life of the process, as the sink is.
  const nb::handle logger =
      nb::module_::import_("logging").attr("getLogger")("arrow_quant_v2").release();
  set_log_sink(
      [logger](LogLevel level, std::string_view message) { forward(logger, level, message); });
}

}  // namespace arrow_quant::python
