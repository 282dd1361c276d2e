#include "arrow_quant/config/value_text.h"

#include <algorithm>
#include <charconv>

namespace arrow_quant {
namespace {

constexpr size_t kMaxStringBytes = 80;
constexpr size_t kMaxListEntries = 8;

std::string quoted(const std::string& text) {
  size_t end = std::min(text.size(), kMaxStringBytes);
  while (end > 0 && end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) {
    --end;  // not inside a UTF-8 character
  }
  return '"' + text.substr(0, end) + (end < text.size() ? "…\"" : "\"");
}

struct ToText {
  std::string operator()(std::monostate) const { return "null"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const {
    const std::string text = number_text(value);
    // A number that is not an integer must not look like one.
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
  }
  std::string operator()(const std::string& value) const { return quoted(value); }
  std::string operator()(const std::vector<std::string>& values) const {
    std::vector<std::string> parts;
    for (const std::string& value : values) {
      if (parts.size() == kMaxListEntries) {
        parts.emplace_back("…");
        break;
      }
      parts.push_back(quoted(value));
    }
    return "[" + join(parts, ", ") + "]";
  }
};

// The whole of `text` as a T.
template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string number_text(double value) {
  char text[32];
  const auto result = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

std::string value_text(const ConfigValue& value) {
  return std::visit(ToText(), value);
}

std::string join(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) {
    text += (text.empty() ? "" : separator) + part;
  }
  return text;
}

ConfigValue parse_plain_scalar(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return std::monostate();
  }
  if (text == "true" || text == "false") {
    return text == "true";
  }
  const bool plus = text.starts_with('+') && !text.starts_with("+-");
  const std::string_view digits = plus ? text.substr(1) : text;
  // from_chars would also take "inf" and "nan", which are words here.
  if (digits.find_first_not_of("0123456789+-.eE") == std::string_view::npos) {
    if (int64_t integer = 0; parse_number(digits, integer)) {
      return integer;
    }
    if (double number = 0; parse_number(digits, number)) {
      return number;
    }
  }
  return std::string(text);
}

}  // namespace arrow_quant
