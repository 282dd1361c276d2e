// PageBody: the bytes of one Parquet data page (version 1) in PLAIN encoding:
// [repetition levels][definition levels][values], little-endian. Levels stand only in columns whose
// schema has them, so what is added, and in which order, follows from the column.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace arrow_quant {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie");

// Repetition or definition levels of 0 and 1, as runs of the same level.
class Levels {
 public:
  void add(bool level, size_t count = 1);
  // Of all runs.
  size_t count() const { return count_; }
  std::span<const std::pair<bool, size_t>> runs() const { return runs_; }

 private:
  std::vector<std::pair<bool, size_t>> runs_;
  size_t count_ = 0;
};

class PageBody {
 public:
  // [u32 size]([varint 2·length][u8 level])…
  void add_levels(const Levels& levels);
  template <class T>
  void add(T value) {
    add_bytes({reinterpret_cast<const uint8_t*>(&value), sizeof(T)});
  }
  // [u32 size][bytes]
  void add_text(std::string_view text);
  void add_bytes(std::span<const uint8_t> bytes);

  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace arrow_quant
