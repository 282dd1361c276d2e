#include "arrow_quant/config/environment.h"

#include <cstdlib>

#include "arrow_quant/config/value_text.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

std::string value_of_variable(const std::string& name) {
  const char* const value = name.empty() ? nullptr : std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t comma = 0; comma != std::string::npos; begin = comma + 1) {
    comma = text.find(',', begin);
    parts.push_back(text.substr(begin, comma - begin));
  }
  return parts;
}

ConfigValue parse_variable(const FieldDoc& field, const std::string& text) {
  const bool several = field.kind == OptionKind::StringList || field.kind == OptionKind::IntMap;
  if (field.kind == OptionKind::Bool && (text == "1" || text == "0")) {
    return text == "1";
  }
  return parse_option_texts(field, several ? split_at_commas(text) : std::vector{text});
}

}  // namespace

std::string environment_variable(std::string_view option) {
  std::string name = "ARROW_QUANT_";
  for (const char c : option) {
    name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

std::vector<GivenOption> environment_options() {
  std::vector<GivenOption> given;
  for (const FieldDoc& field : config_field_docs()) {
    std::string name = environment_variable(field.name);
    std::string text = value_of_variable(name);
    if (!field.alias.empty()) {
      const std::string alias = environment_variable(field.alias);
      const std::string alias_text = value_of_variable(alias);
      if (!text.empty() && !alias_text.empty() && text != alias_text) {
        throw Error(ErrorCode::Configuration, name + " is " + value_text(text) + " and " + alias +
                                                  " is " + value_text(alias_text) +
                                                  ", which are one option: unset one of them");
      }
      if (text.empty()) {
        name = alias;
        text = alias_text;
      }
    }
    if (!text.empty()) {
      given.push_back({field.name, parse_variable(field, text), name});
    }
  }
  validate_options(apply_options(given), given);
  return given;
}

}  // namespace arrow_quant
