// Option values as people read and write them: for messages and files, and from unquoted text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/config/options.h"

namespace arrow_quant {

// The shortest text that reads back as the same number: "0.85", "3", "1e-05".
std::string number_text(double value);

// null, true, 4, 0.85, "text", ["a", "b"], {"a": 4}; what is long is cut.
std::string value_text(const ConfigValue& value);

// The same as YAML that reads back as the same value: nothing is cut, and what cannot stand in a
// string is escaped. Throws: Error(Configuration) for a string that is not UTF-8.
std::string yaml_text(const ConfigValue& value);

std::string join(const std::vector<std::string>& parts, const std::string& separator);

// Text without quotes as YAML reads it: null, true or false, a decimal number, else a string.
ConfigValue parse_plain_scalar(std::string_view text);

// What text without quotes gives for an option, as a flag or the environment has it. Lists and maps
// take one text for each entry, "name" or "name=4"; other options take one. What is not of the
// option's kind stays text, which config_set refuses.
// Pre: there is at least one text.
ConfigValue parse_option_texts(const FieldDoc& field, const std::vector<std::string>& texts);

}  // namespace arrow_quant
