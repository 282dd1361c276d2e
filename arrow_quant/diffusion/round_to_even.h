// Rounding to the nearest integer, halves to even, by one addition: beyond 2^23 a float holds
// integers alone. Unlike std::nearbyint this becomes vector code on every machine.
#pragma once

namespace arrow_quant {

// |value| ≤ 2^22.
inline float round_to_even(float value) {
  constexpr float kIntegersOnly = 0x1.8p23f;
  return (value + kIntegersOnly) - kIntegersOnly;
}

}  // namespace arrow_quant
