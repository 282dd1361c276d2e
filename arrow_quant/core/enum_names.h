// The names of a closed set of choices: an enumeration that counts from 0, and its words in the
// same order.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace arrow_quant {

// "unknown" for a value that is no enumerator.
template <class Enum, size_t kCount>
std::string_view enum_name(const std::array<std::string_view, kCount>& names, Enum value) {
  const auto index = static_cast<size_t>(value);
  return index < kCount ? names[index] : "unknown";
}

template <class Enum, size_t kCount>
std::optional<Enum> enum_value(const std::array<std::string_view, kCount>& names,
                               std::string_view name) {
  for (size_t i = 0; i < kCount; ++i) {
    if (names[i] == name) {
      return static_cast<Enum>(i);
    }
  }
  return std::nullopt;
}

}  // namespace arrow_quant
