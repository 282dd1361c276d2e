#include "arrow_quant/config/value_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

constexpr size_t kMaxStringBytes = 80;
constexpr size_t kMaxListEntries = 8;

std::string cut_and_quoted(const std::string& text) {
  size_t end = std::min(text.size(), kMaxStringBytes);
  while (end > 0 && end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) {
    --end;  // not inside a UTF-8 character
  }
  return '"' + text.substr(0, end) + (end < text.size() ? "…\"" : "\"");
}

// A number that is not an integer must not look like one, and some readers of YAML take "1e-05"
// for a word.
std::string real_text(double value) {
  std::string text = number_text(value);
  if (std::isfinite(value) && text.find('.') == std::string::npos) {
    text.insert(std::min(text.find('e'), text.size()), ".0");
  }
  return text;
}

// Scalars, lists and maps by one rule for strings.
template <class Quote>
struct ToText {
  Quote quote;
  size_t max_entries;

  std::string operator()(std::monostate) const { return "null"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return real_text(value); }
  std::string operator()(const std::string& value) const { return quote(value); }
  std::string operator()(const std::vector<std::string>& values) const {
    return "[" + entries(values) + "]";
  }
  std::string operator()(const NamedInts& values) const { return "{" + entries(values) + "}"; }

  std::string entry(const std::string& value) const { return quote(value); }
  std::string entry(const NamedInts::value_type& value) const {
    return quote(value.first) + ": " + std::to_string(value.second);
  }
  template <class Values>
  std::string entries(const Values& values) const {
    std::vector<std::string> parts;
    for (const auto& value : values) {
      if (parts.size() == max_entries) {
        parts.emplace_back("…");
        break;
      }
      parts.push_back(entry(value));
    }
    return join(parts, ", ");
  }
};

// The bytes of the UTF-8 character at the start of `text`; 0 if there is none.
size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xC2 && lead < 0xE0 ? 2
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                                                      : 0;
  if (length == 0 || length > text.size()) {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) {
      return 0;
    }
  }
  const auto second = static_cast<uint8_t>(length > 1 ? text[1] : 0);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool beyond = (lead == 0xED && second >= 0xA0) || (lead == 0xF4 && second >= 0x90);
  return overlong || beyond ? 0 : length;
}

std::string escaped_and_quoted(const std::string& text) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string quoted = "\"";
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(std::string_view(text).substr(at));
    const auto byte = static_cast<uint8_t>(text[at]);
    if (length == 0) {
      throw Error(ErrorCode::Configuration, value_text(text) + " is not UTF-8, as YAML must be");
    }
    if (byte == '"' || byte == '\\') {
      quoted += '\\';
    }
    if (byte < 0x20 || byte == 0x7F) {
      quoted += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      quoted += text.substr(at, length);
    }
    at += length;
  }
  return quoted + '"';
}

// The whole of `text` as a T.
template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

// "name=4"; the name may itself hold '='.
bool parse_map_entry(const std::string& text, NamedInts& map) {
  const size_t equals = text.rfind('=');
  int64_t number = 0;
  if (equals == std::string::npos ||
      !parse_number(std::string_view(text).substr(equals + 1), number)) {
    return false;
  }
  map.emplace_back(text.substr(0, equals), number);
  return true;
}

}  // namespace

std::string number_text(double value) {
  const double size = std::fabs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char text[32];
  const auto end = plain ? std::to_chars(text, text + sizeof(text), value, std::chars_format::fixed)
                         : std::to_chars(text, text + sizeof(text), value);
  return std::string(text, end.ptr);
}

std::string value_text(const ConfigValue& value) {
  return std::visit(ToText<decltype(&cut_and_quoted)>{cut_and_quoted, kMaxListEntries}, value);
}

std::string yaml_text(const ConfigValue& value) {
  return std::visit(ToText<decltype(&escaped_and_quoted)>{escaped_and_quoted, SIZE_MAX}, value);
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

ConfigValue parse_option_texts(const FieldDoc& field, const std::vector<std::string>& texts) {
  switch (field.kind) {
    case OptionKind::Bool:
    case OptionKind::Int:
    case OptionKind::Float:
      return parse_plain_scalar(texts.back());
    case OptionKind::String:
      return texts.back();
    case OptionKind::StringList:
      return texts;
    case OptionKind::IntMap: {
      NamedInts map;
      for (const std::string& text : texts) {
        if (!parse_map_entry(text, map)) {
          return texts;
        }
      }
      return map;
    }
  }
  return {};
}

}  // namespace arrow_quant
