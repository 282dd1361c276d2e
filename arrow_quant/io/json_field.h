// The fields of our own JSON records, with messages that name the key and the value found.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

namespace arrow_quant {

// One of the parser's exceptions, so that who handles what is wrong with a text handles this.
class FieldError : public nlohmann::json::exception {
 public:
  explicit FieldError(const std::string& problem) : exception(0, problem.c_str()) {}
};

// A value as a message may show it.
inline std::string shown(const nlohmann::ordered_json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  constexpr size_t kMaxBytes = 80;
  if (text.size() > kMaxBytes) {
    size_t end = kMaxBytes;
    while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
      --end;  // not within a character
    }
    text = text.substr(0, end) + "…";
  }
  return text;
}

template <class T>
constexpr const char* kind_of_value() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_integral_v<T>) return "an integer";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "a list of strings";
  return "a list of numbers";
}

// Throws: FieldError where `json` is no object, lacks the key, or has another type there.
template <class T>
T field(const nlohmann::ordered_json& json, const char* key) {
  if (!json.is_object()) {
    throw FieldError("an object with \"" + std::string(key) + "\" is expected, this is " +
                     shown(json));
  }
  const auto found = json.find(key);
  if (found == json.end()) {
    throw FieldError("\"" + std::string(key) + "\" is missing");
  }
  try {
    return found->template get<T>();
  } catch (const nlohmann::json::type_error&) {
    throw FieldError("\"" + std::string(key) + "\" is " + shown(*found) + ", expected " +
                     kind_of_value<T>());
  }
}

}  // namespace arrow_quant
