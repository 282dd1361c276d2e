#include "arrow_quant/io/hash.h"

#ifdef ARROW_QUANT_XXHASH_DISPATCH
#define XXH_STATIC_LINKING_ONLY  // the state's size
#include <xxh_x86dispatch.h>     // has to follow: it renames functions
#include <xxhash.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

namespace arrow_quant {

// XXH3_state_t is aligned to 64 bytes, which operator new respects for an over-aligned type.
struct Xxh3_128::State {
  XXH3_state_t xxh;
};

uint64_t xxh3_64(std::span<const uint8_t> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Xxh3_128::Xxh3_128() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->xxh);
}
Xxh3_128::Xxh3_128(Xxh3_128&&) noexcept = default;
Xxh3_128& Xxh3_128::operator=(Xxh3_128&&) noexcept = default;
Xxh3_128::~Xxh3_128() = default;

void Xxh3_128::update(std::span<const uint8_t> bytes) {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::string Xxh3_128::hex_digest() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_->xxh));
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * sizeof(canonical.digest));
  for (const unsigned char byte : canonical.digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace arrow_quant
