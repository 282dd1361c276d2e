#include "arrow_quant/core/error.h"

#include <system_error>

namespace arrow_quant {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::Configuration:
      return "Configuration";
    case ErrorCode::InvalidBitWidth:
      return "InvalidBitWidth";
    case ErrorCode::ModelNotFound:
      return "ModelNotFound";
    case ErrorCode::InvalidModel:
      return "InvalidModel";
    case ErrorCode::NonFinite:
      return "NonFinite";
    case ErrorCode::QualityBelowThreshold:
      return "QualityBelowThreshold";
    case ErrorCode::Validation:
      return "Validation";
    case ErrorCode::Metadata:
      return "Metadata";
    case ErrorCode::ShapeMismatch:
      return "ShapeMismatch";
    case ErrorCode::Schema:
      return "Schema";
    case ErrorCode::InvalidRow:
      return "InvalidRow";
    case ErrorCode::OutputExists:
      return "OutputExists";
    case ErrorCode::Unsupported:
      return "Unsupported";
    case ErrorCode::Io:
      return "Io";
    case ErrorCode::Cancelled:
      return "Cancelled";
  }
  return "Unknown";
}

void throw_io_error(std::string_view doing, const std::filesystem::path& path, int os_errno) {
  throw Error(ErrorCode::Io,
              "cannot " + std::string(doing) + " " + path.string() + ": " +
                  std::system_category().message(os_errno),
              path, os_errno);
}

}  // namespace arrow_quant
