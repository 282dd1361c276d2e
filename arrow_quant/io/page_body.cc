#include "arrow_quant/io/page_body.h"

#include <cstring>

namespace arrow_quant {

void Levels::add(bool level, size_t count) {
  if (count == 0) {
    return;  // a run of length 0 is not allowed
  }
  if (runs_.empty() || runs_.back().first != level) {
    runs_.emplace_back(level, 0);
  }
  runs_.back().second += count;
  count_ += count;
}

void PageBody::add_levels(const Levels& levels) {
  const size_t start = bytes_.size();
  add(uint32_t{0});
  for (const auto& [level, length] : levels.runs()) {
    uint64_t header = uint64_t{length} << 1;  // the low bit tells a run from bit-packed levels
    for (; header >= 0x80; header >>= 7) {
      add(static_cast<uint8_t>(header | 0x80));
    }
    add(static_cast<uint8_t>(header));
    add(uint8_t{level});
  }
  const auto size = static_cast<uint32_t>(bytes_.size() - start - sizeof(uint32_t));
  std::memcpy(bytes_.data() + start, &size, sizeof(size));
}

void PageBody::add_text(std::string_view text) {
  add(static_cast<uint32_t>(text.size()));
  bytes_.insert(bytes_.end(), text.begin(), text.end());
}

void PageBody::add_bytes(std::span<const uint8_t> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

}  // namespace arrow_quant
