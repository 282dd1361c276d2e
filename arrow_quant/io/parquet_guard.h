// What Arrow and Parquet throw or return, as our errors. Internal to io/.
#pragma once

#include <exception>
#include <filesystem>
#include <new>
#include <string>

#include <arrow/status.h>
#include <arrow/util/io_util.h>
#include <parquet/exception.h>

#include "arrow_quant/core/error.h"

namespace arrow_quant {

// Runs `read`. Failures of the system become Error(Io) with errno and path; for anything else that
// is thrown, fail(problem) is called, which throws. Errors of ours and bad_alloc come through.
template <class Read, class Fail>
auto guard_parquet(const std::filesystem::path& path, Read read, Fail fail) {
  try {
    return read();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const parquet::ParquetStatusException& error) {
    if (const int read_errno = arrow::internal::ErrnoFromStatus(error.status())) {
      throw_io_error("read", path, read_errno);
    }
    fail(std::string(error.what()));
    throw;
  } catch (const std::exception& error) {
    fail(std::string(error.what()));
    throw;
  }
}

}  // namespace arrow_quant
