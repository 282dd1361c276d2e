// Options by name: the door through which YAML, keyword arguments, flags, the environment and the
// manifest reach the fields of a DiffusionQuantConfig. What the options are stands in
// config_fields.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "arrow_quant/config/config.h"

namespace arrow_quant {

// std::monostate is null: an option without a value. Enumerations are strings here.
using ConfigValue = std::variant<std::monostate, bool, int64_t, double, std::string,
                                 std::vector<std::string>, NamedInts>;

enum class OptionKind { Bool, Int, Float, String, StringList, IntMap };

struct FieldDoc {
  std::string name;
  std::string alias;  // "bits" for bit_width; else ""
  std::string path;   // "thermodynamic.validation.enabled"; "" for what is not nested
  std::string flags;  // "--bits,--bit-width"
  std::string doc;
  OptionKind kind = OptionKind::String;
  bool nullable = false;             // null unsets it
  std::vector<std::string> choices;  // the allowed values where they can be listed
  std::string allowed;               // in words: "2, 4, 8", "0 … 1"; "" if anything goes
  bool changes_output = true;        // whether it can change a byte of the output
  ConfigValue default_value;
};

// Every option, first those that Python takes by position.
const std::vector<FieldDoc>& config_field_docs();
// How many those are.
size_t num_positional_fields();

// The name of the option that `name` is the name, the alias or the path of.
// Throws: Error(Configuration) for an unknown name, with the nearest known one.
std::string_view config_field_name(std::string_view name);

// The value of option `name` (or its alias or path). Throws: Error(Configuration) for an unknown
// name.
ConfigValue config_get(const DiffusionQuantConfig& config, std::string_view name);

// Sets option `name` (or its alias or path). Null unsets options that can be unset and empties
// lists and maps. Numbers are not held against their range: validate() does.
// Throws: Error(Configuration) for an unknown name and for a value of the wrong type
// (Error(InvalidBitWidth) for bit_width).
void config_set(DiffusionQuantConfig& config, std::string_view name, const ConfigValue& value);

// A value somebody gave. `where` opens the messages about it: "config.yaml:3", "--bits"; may be "".
struct GivenOption {
  std::string name;
  ConfigValue value;
  std::string where;
};

// The defaults of the last given "deployment_profile", then the given values; later ones win.
// Throws: what config_set throws, with `where`.
DiffusionQuantConfig apply_options(const std::vector<GivenOption>& given);

// Checks the whole config; about a given option that is not allowed, the message says where it
// was given. Throws: what DiffusionQuantConfig::validate() throws.
void validate_options(const DiffusionQuantConfig& config, const std::vector<GivenOption>& given);

// What a YAML file gives; see DiffusionQuantConfig::from_yaml. Values are not yet checked.
std::vector<GivenOption> read_yaml_options(const std::filesystem::path& path);
std::vector<GivenOption> parse_yaml_options(const std::string& text, const std::string& source);

}  // namespace arrow_quant
