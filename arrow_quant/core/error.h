// The one exception type of the library.
//
// Loops inside cannot fail; the edges check, then throw one Error. Its code tells the cases apart
// (the Python exceptions follow from one table of codes), its message says where, what, what was
// expected and the remedy. Expected outcomes ("4 bits were needed") are values, never errors.
#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace arrow_quant {

enum class ErrorCode {
  Configuration,          // an option has a value that is not allowed
  InvalidBitWidth,        // bit_width is not 2, 4 or 8
  ModelNotFound,          // the path holds no model
  InvalidModel,           // a model file breaks its format's rules
  NonFinite,              // a weight is NaN or infinite
  QualityBelowThreshold,  // fail_fast met a layer below min_accuracy
  Validation,             // two models cannot be compared
  Metadata,               // a quantized model's own records are missing or contradict each other
  ShapeMismatch,          // a tensor has another shape than expected
  Schema,                 // an Arrow schema is not the expected one
  InvalidRow,             // a row of an Arrow table holds what cannot be quantized or decoded
  OutputExists,           // the output path holds something that must not be replaced
  Unsupported,            // a file needs a feature that this version does not know
  Io,                     // the operating system refused; os_errno() and path() say what and where
  Cancelled,              // the caller asked to stop
};

// "ModelNotFound" and so on.
std::string_view to_string(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Error(ErrorCode code, const std::string& message, std::filesystem::path path, int os_errno)
      : std::runtime_error(message), code_(code), path_(std::move(path)), os_errno_(os_errno) {}

  ErrorCode code() const { return code_; }
  // The file concerned; empty unless code() is Io or ModelNotFound, or a file of options cannot be
  // read.
  const std::filesystem::path& path() const { return path_; }
  // The errno of the failed call, ENOENT where no model was found; else 0.
  int os_errno() const { return os_errno_; }

 private:
  ErrorCode code_;
  std::filesystem::path path_;
  int os_errno_ = 0;
};

// Throws Error(Io) whose message is "cannot DOING PATH: strerror(os_errno)".
[[noreturn]] void throw_io_error(std::string_view doing, const std::filesystem::path& path,
                                 int os_errno);

}  // namespace arrow_quant
