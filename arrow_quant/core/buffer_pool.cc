#include "arrow_quant/core/buffer_pool.h"

#include <algorithm>
#include <utility>

namespace arrow_quant {

Buffer BufferPool::take(size_t size_bytes) {
  const auto spare = std::find_if(spares_.begin(), spares_.end(), [&](const Buffer& buffer) {
    return buffer.capacity_bytes() >= size_bytes &&
           buffer.capacity_bytes() - size_bytes <= size_bytes / 8;
  });
  if (spare == spares_.end()) {
    return Buffer(size_bytes);
  }
  Buffer buffer = std::move(*spare);
  spares_.erase(spare);
  spare_bytes_ -= buffer.capacity_bytes();
  buffer.resize(size_bytes);
  return buffer;
}

void BufferPool::give(Buffer buffer) {
  if (buffer.capacity_bytes() == 0) {
    return;
  }
  spare_bytes_ += buffer.capacity_bytes();
  spares_.push_back(std::move(buffer));
  while (spare_bytes_ > limit_bytes_) {
    spare_bytes_ -= spares_.front().capacity_bytes();
    spares_.pop_front();
  }
}

}  // namespace arrow_quant
