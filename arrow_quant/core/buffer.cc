#include "arrow_quant/core/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <utility>

namespace arrow_quant {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

uint8_t* allocate(size_t size_bytes) {
  const size_t alignment = size_bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  if (size_bytes > SIZE_MAX - alignment) {
    throw std::bad_alloc();
  }
  const size_t rounded = (size_bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  if (data == nullptr) {
    throw std::bad_alloc();
  }
  if (alignment == kHugePage) {
    // Only those that are used whole. A wish: where it is refused, small pages serve.
    madvise(data, size_bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  }
  return static_cast<uint8_t*>(data);
}

}  // namespace

void Buffer::Free::operator()(uint8_t* data) const {
  std::free(data);
}

Buffer::Buffer(size_t size_bytes) : size_bytes_(size_bytes), capacity_bytes_(size_bytes) {
  if (size_bytes != 0) {
    data_.reset(allocate(size_bytes));
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::move(other.data_)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      capacity_bytes_(std::exchange(other.capacity_bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  data_ = std::move(other.data_);
  size_bytes_ = std::exchange(other.size_bytes_, 0);
  capacity_bytes_ = std::exchange(other.capacity_bytes_, 0);
  return *this;
}

void Buffer::reserve(size_t size_bytes) {
  if (size_bytes > size_bytes_) {
    resize(size_bytes);
  }
}

void Buffer::resize(size_t size_bytes) {
  if (size_bytes > capacity_bytes_) {
    *this = Buffer();  // free first: both need not exist at once
    *this = Buffer(size_bytes);
  }
  size_bytes_ = size_bytes;
}

}  // namespace arrow_quant
