#include "arrow_quant/io/input_reader.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace arrow_quant {
namespace {

// MADV_POPULATE_READ, which not all headers know; systems before Linux 5.14 refuse it.
constexpr int kFetchPages = 22;

}  // namespace

std::span<const uint8_t> InputReader::read(const InputFile& file, uint64_t offset,
                                           uint64_t size_bytes, size_t alignment) {
  if (offset % alignment == 0 && fetch(file, offset, size_bytes)) {
    return {file.mapped() + offset, size_bytes};
  }
  copy_.reserve(size_bytes);
  const std::span<uint8_t> copy = copy_.bytes().first(size_bytes);
  file.read_at(offset, copy);  // says what is wrong, if that is why nothing could be fetched
  return copy;
}

// Whether the pages of the range are there.
bool InputReader::fetch(const InputFile& file, uint64_t offset, uint64_t size_bytes) {
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t size = file.size_bytes();
  if (file.mapped() == nullptr || size_bytes == 0 || offset > size || size_bytes > size - offset) {
    return false;
  }
  const uint64_t begin = offset / page * page;
  const uint64_t end = (offset + size_bytes + page - 1) / page * page;
  const uint64_t first = std::min(begin, begin_), last = std::max(end, end_);
  if (mapped_ == file.mapped() && last - first <= kResidentBytes) {
    begin_ = first;
    end_ = last;
  } else {
    let_go();
    mapped_ = file.mapped();
    begin_ = begin;
    end_ = end;
  }
  return ::madvise(mapped_ + begin, end - begin, kFetchPages) == 0 &&
         file.holds(offset + size_bytes);  // beyond the end, a page would show zeros
}

// Another thread that uses one of these pages gets it back from the page cache.
void InputReader::let_go() {
  if (mapped_ != nullptr) {
    ::madvise(mapped_ + begin_, end_ - begin_, MADV_DONTNEED);
    mapped_ = nullptr;
  }
}

}  // namespace arrow_quant
