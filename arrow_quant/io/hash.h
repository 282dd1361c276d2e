// XXH3 hashes: of whole buffers, and of bytes as they stream by. Not cryptographic: they find
// damage, not malice.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace arrow_quant {

// XXH3, 64 bits, seed 0.
uint64_t xxh3_64(std::span<const uint8_t> bytes);

// XXH3, 128 bits, seed 0, of all bytes given to update().
class Xxh3_128 {
 public:
  Xxh3_128();
  Xxh3_128(Xxh3_128&&) noexcept;
  Xxh3_128& operator=(Xxh3_128&&) noexcept;
  ~Xxh3_128();

  void update(std::span<const uint8_t> bytes);
  // 32 lower-case hexadecimal digits, most significant first: as `xxhsum -H2` prints them.
  std::string hex_digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace arrow_quant
