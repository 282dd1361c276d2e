#include "cli/config_flags.h"

#include <variant>

#include "arrow_quant/config/environment.h"
#include "arrow_quant/config/value_text.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant::cli {
namespace {

std::string first_flag(const FieldDoc& field) {
  return field.flags.substr(0, field.flags.find(','));
}

// "--fail-fast" → "--fail-fast,!--no-fail-fast", so that a flag can also undo what a file says.
std::string with_negation(const std::string& flag) {
  return flag + ",!--no" + flag.substr(1);
}

bool takes_several(const FieldDoc& field) {
  return field.kind == OptionKind::StringList || field.kind == OptionKind::IntMap;
}

std::string type_name(const FieldDoc& field) {
  return field.kind == OptionKind::Int      ? "INT"
         : field.kind == OptionKind::Float  ? "NUMBER"
         : field.kind == OptionKind::IntMap ? "NAME=INT"
                                            : "TEXT";
}

std::string default_text(const FieldDoc& field) {
  const bool plain = std::holds_alternative<int64_t>(field.default_value) ||
                     std::holds_alternative<double>(field.default_value);
  const auto* const word = std::get_if<std::string>(&field.default_value);
  return plain ? value_text(field.default_value) : word ? *word : "";
}

std::string description(const FieldDoc& field) {
  std::string text = field.doc;
  if (field.kind != OptionKind::Bool && !field.allowed.empty()) {
    text += " (" + field.allowed;
    const std::string standard = default_text(field);
    text += standard.empty() ? ")" : "; default " + standard + ")";
  }
  return text + (takes_several(field) ? "; may be repeated" : "");
}

}  // namespace

ConfigFlags::ConfigFlags(CLI::App& app, const std::function<bool(const FieldDoc&)>& wanted) {
  app.add_option("--config", config_path_,
                 "YAML file of options; flags win over it, it over the environment")
      ->type_name("FILE");
  for (const FieldDoc& field : config_field_docs()) {
    if (!field.flags.empty() && wanted(field)) {
      add(app, flags_.emplace_back(field));
    }
  }
}

void ConfigFlags::add(CLI::App& app, Flag& flag) {
  const FieldDoc& field = *flag.field;
  if (field.kind == OptionKind::Bool) {
    flag.option = app.add_flag(with_negation(field.flags), flag.on, description(field));
    return;
  }
  const auto policy =
      takes_several(field) ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast;
  flag.option = app.add_option(field.flags, flag.texts, description(field))
                    ->type_name(type_name(field))
                    ->expected(1)
                    ->allow_extra_args(false)
                    ->multi_option_policy(policy);
}

ConfigValue ConfigFlags::value_of(const Flag& flag) {
  return flag.field->kind == OptionKind::Bool ? ConfigValue(flag.on)
                                              : parse_option_texts(*flag.field, flag.texts);
}

DiffusionQuantConfig ConfigFlags::config() const {
  std::vector<GivenOption> given = environment_options();
  if (!config_path_.empty()) {
    const std::vector<GivenOption> yaml = read_yaml_options(config_path_);
    given.insert(given.end(), yaml.begin(), yaml.end());
  }
  for (const Flag& flag : flags_) {
    if (flag.option->count() > 0) {
      given.push_back({flag.field->name, value_of(flag), first_flag(*flag.field)});
    }
  }
  DiffusionQuantConfig config = apply_options(given);
  validate_options(config, given);
  return config;
}

}  // namespace arrow_quant::cli
