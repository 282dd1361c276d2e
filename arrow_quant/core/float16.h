// IEEE half precision, one value at a time: parameters and tests. Whole arrays go through kernels.
#pragma once

#include <cstdint>

namespace arrow_quant {

// Rounds to nearest even; values beyond 65504 become infinity.
uint16_t float_to_half(float value);
float half_to_float(uint16_t half);

}  // namespace arrow_quant
