#include "arrow_quant/io/hash.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace arrow_quant {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// The values that xxhsum prints (-H3 for 64 bits, -H2 for 128).
TEST(Hash, KnownTextsHaveTheirPublishedHashes) {
  EXPECT_EQ(xxh3_64(bytes_of("")), 0x2d06800538d394c2u);
  EXPECT_EQ(xxh3_64(bytes_of("abc")), 0x78af5f94892f3950u);
  EXPECT_EQ(Xxh3_128().hex_digest(), "99aa06d3014798d86001c324468d497f");
  Xxh3_128 hash;
  hash.update(bytes_of("abc"));
  EXPECT_EQ(hash.hex_digest(), "06b05ab6733a618578af5f94892f3950");
}

TEST(Hash, HowTheBytesAreCutDoesNotMatter) {
  std::vector<uint8_t> bytes(10000);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(i * 37 >> 3);
  }
  Xxh3_128 whole;
  whole.update(bytes);
  for (const size_t step : {1, 63, 64, 240, 1024, 9999}) {
    Xxh3_128 parts;
    for (size_t begin = 0; begin < bytes.size(); begin += step) {
      parts.update(std::span(bytes).subspan(begin, std::min(step, bytes.size() - begin)));
    }
    EXPECT_EQ(parts.hex_digest(), whole.hex_digest()) << "step " << step;
  }
}

}  // namespace
}  // namespace arrow_quant
