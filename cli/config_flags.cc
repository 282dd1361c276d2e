#include "cli/config_flags.h"

#include <variant>

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

std::string type_name(const FieldDoc& field) {
  return field.kind == OptionKind::Int     ? "INT"
         : field.kind == OptionKind::Float ? "NUMBER"
                                           : "TEXT";
}

std::string default_text(const FieldDoc& field) {
  struct ToText {
    std::string operator()(std::monostate) const { return ""; }
    std::string operator()(bool) const { return ""; }
    std::string operator()(int64_t value) const { return std::to_string(value); }
    std::string operator()(double value) const { return CLI::detail::to_string(value); }
    std::string operator()(const std::string& value) const { return value; }
    std::string operator()(const std::vector<std::string>&) const { return ""; }
  };
  return std::visit(ToText(), field.default_value);
}

std::string description(const FieldDoc& field) {
  std::string text = field.doc;
  if (field.kind != OptionKind::Bool && !field.allowed.empty()) {
    text += " (" + field.allowed;
    const std::string standard = default_text(field);
    text += standard.empty() ? ")" : "; default " + standard + ")";
  }
  return text + (field.kind == OptionKind::StringList ? "; may be repeated" : "");
}

}  // namespace

ConfigFlags::ConfigFlags(CLI::App& app, const std::function<bool(const FieldDoc&)>& wanted) {
  app.add_option("--config", config_path_, "YAML file of options; flags win over it")
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
  const auto policy = field.kind == OptionKind::StringList ? CLI::MultiOptionPolicy::TakeAll
                                                           : CLI::MultiOptionPolicy::TakeLast;
  flag.option = app.add_option(field.flags, flag.texts, description(field))
                    ->type_name(type_name(field))
                    ->expected(1)
                    ->allow_extra_args(false)
                    ->multi_option_policy(policy);
}

ConfigValue ConfigFlags::value_of(const Flag& flag) {
  switch (flag.field->kind) {
    case OptionKind::Bool:
      return flag.on;
    case OptionKind::Int:
    case OptionKind::Float:
      return parse_plain_scalar(flag.texts.back());
    case OptionKind::String:
      return flag.texts.back();
    case OptionKind::StringList:
      return flag.texts;
  }
  return {};
}

DiffusionQuantConfig ConfigFlags::config() const {
  std::vector<GivenOption> given;
  if (!config_path_.empty()) {
    try {
      given = read_yaml_options(config_path_);
    } catch (const Error& error) {
      throw Error(
          error.code() == ErrorCode::Io ? ErrorCode::Configuration : error.code(),
          error.code() == ErrorCode::Io ? std::string("--config: ") + error.what() : error.what());
    }
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
