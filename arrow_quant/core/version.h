// The version of the library, as files record it.
#pragma once

namespace arrow_quant {

inline constexpr const char* kVersion = ARROW_QUANT_VERSION;

}  // namespace arrow_quant
