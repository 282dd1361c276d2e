#include "errors.h"

#include <exception>

#include "arrow_quant/core/error.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;

// The one table of codes and classes.
const char* class_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::Configuration:
    case ErrorCode::InvalidBitWidth:
      return "ConfigurationError";
    case ErrorCode::ModelNotFound:
      return "ModelNotFoundError";
    case ErrorCode::Metadata:
      return "MetadataError";
    case ErrorCode::Schema:
    case ErrorCode::InvalidRow:
      return "TableError";
    case ErrorCode::ShapeMismatch:
      return "ShapeMismatchError";
    case ErrorCode::Validation:
      return "ValidationError";
    case ErrorCode::InvalidModel:
    case ErrorCode::NonFinite:
    case ErrorCode::QualityBelowThreshold:
    case ErrorCode::OutputExists:
    case ErrorCode::Unsupported:
    case ErrorCode::Io:
    case ErrorCode::Cancelled:
      break;
  }
  return "QuantizationError";
}

// Sets the Python error. `classes`: the module arrow_quant_v2.errors.
void set_python_error(const Error& error, nb::handle classes) {
  try {
    nb::object type = classes.attr(class_name(error.code()));
    nb::object value = type(to_str(error.what()));
    value.attr("code") = to_str(to_string(error.code()));
    if (!error.path().empty()) {
      value.attr("errno") = error.os_errno();
      value.attr("filename") = nb::steal(PyUnicode_DecodeFSDefault(error.path().c_str()));
    }
    PyErr_SetObject(type.ptr(), value.ptr());
  } catch (nb::python_error& failure) {
    failure.restore();
  }
}

void translate(const std::exception_ptr& thrown, void* classes) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    set_python_error(error, nb::handle(static_cast<PyObject*>(classes)));
  }
}

}  // namespace

nb::object to_str(std::string_view text) {
  return nb::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
}

void bind_errors() {
  nb::object classes = nb::module_::import_("arrow_quant_v2.errors");
  // Held for the life of the process, as the translator is.
  nb::register_exception_translator(translate, classes.release().ptr());
}

}  // namespace arrow_quant::python
