#include "arrow_quant/io/part_sink.h"

#include <algorithm>
#include <utility>

#include <arrow/status.h>

namespace arrow_quant {
namespace {

constexpr size_t kPendingBytes = size_t{64} << 10;
// Hashed, then written while still in cache.
constexpr size_t kSliceBytes = size_t{256} << 10;

}  // namespace

PartSink::PartSink(std::filesystem::path path, const CancelToken* cancel)
    : file_(std::move(path), cancel) {
  pending_.reserve(kPendingBytes);
}

arrow::Status PartSink::Write(const void* data, int64_t size_bytes) {
  const std::span bytes(static_cast<const uint8_t*>(data), static_cast<size_t>(size_bytes));
  try {
    if (pending_.size() + bytes.size() > kPendingBytes) {
      flush_pending();
    }
    if (bytes.size() > kPendingBytes) {
      write_through(bytes);
    } else {
      pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    }
  } catch (...) {
    failure_ = std::current_exception();
    return arrow::Status::IOError("write failed");
  }
  return arrow::Status::OK();
}

void PartSink::flush_pending() {
  write_through(pending_);
  pending_.clear();
}

void PartSink::write_through(std::span<const uint8_t> bytes) {
  if (bytes.size() > kSliceBytes) {
    file_.expect(bytes.size());
  }
  while (!bytes.empty()) {
    // To the end of whole pages: beginning in the middle of one takes half as long again.
    const size_t room = kSliceBytes - file_.size_bytes() % kSliceBytes;
    const auto slice = bytes.first(std::min(bytes.size(), room));
    hash_.update(slice);
    file_.write(slice);
    bytes = bytes.subspan(slice.size());
  }
}

void PartSink::commit() {
  flush_pending();
  file_.commit();
}

}  // namespace arrow_quant
