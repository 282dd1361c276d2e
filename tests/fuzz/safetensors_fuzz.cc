// Whatever bytes stand in a .safetensors file: opening it returns tensors that lie within the file,
// one after the other, or throws Error(InvalidModel).
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/io/safetensors.h"

namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void check(const arrow_quant::SafetensorsFile& file) {
  uint64_t end = file.data_begin();
  for (const arrow_quant::TensorInfo& info : file.tensors()) {
    require(info.begin == end);
    require(info.num_elements() * static_cast<uint64_t>(bits_of(info.dtype)) ==
            info.size_bytes * 8);
    end += info.size_bytes;
  }
  require(end == file.file().size_bytes());
}

// The file that an input stands for. Its first byte says how to read the rest: as the file itself,
// or, so that more inputs get past the length, as a count of data bytes and a header.
std::string file_bytes(const uint8_t* data, size_t size) {
  const bool is_whole_file = size < 2 || data[0] % 2 != 0;
  const size_t skipped = std::min<size_t>(size, is_whole_file ? 1 : 2);
  const std::string rest(reinterpret_cast<const char*>(data) + skipped, size - skipped);
  if (is_whole_file) {
    return rest;
  }
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) {
    bytes.push_back(static_cast<char>(uint64_t{rest.size()} >> shift));
  }
  return bytes + rest + std::string(data[1], '\0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = ::memfd_create("input.safetensors", 0);  // a file without a disk
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  require(fd >= 0 && ::ftruncate(fd, 0) == 0);
  const std::string bytes = file_bytes(data, size);
  require(::pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  try {
    check(arrow_quant::SafetensorsFile::open(path));
  } catch (const arrow_quant::Error& error) {
    require(error.code() == arrow_quant::ErrorCode::InvalidModel);
  }
  return 0;
}
