#include "arrow_quant/io/file_copy.h"

#include <algorithm>

#include "arrow_quant/core/atomic_file.h"
#include "arrow_quant/core/buffer.h"
#include "arrow_quant/io/input_file.h"

namespace arrow_quant {
namespace {

constexpr size_t kCopyChunkBytes = size_t{1} << 20;

}  // namespace

void copy_file_durably(const std::filesystem::path& from, const std::filesystem::path& to,
                       const std::function<void(std::span<const uint8_t>)>& on_chunk,
                       const CancelToken* cancel) {
  const InputFile source = InputFile::open(from);
  AtomicFile target(to, cancel);
  Buffer buffer(static_cast<size_t>(std::min<uint64_t>(source.size_bytes(), kCopyChunkBytes)));
  for (uint64_t offset = 0; offset < source.size_bytes(); offset += buffer.size_bytes()) {
    const auto chunk = buffer.bytes().first(
        static_cast<size_t>(std::min<uint64_t>(buffer.size_bytes(), source.size_bytes() - offset)));
    check_cancelled(cancel);
    source.read_at(offset, chunk);
    target.write(chunk);
    if (on_chunk) {
      on_chunk(chunk);
    }
  }
  target.commit();
}

}  // namespace arrow_quant
