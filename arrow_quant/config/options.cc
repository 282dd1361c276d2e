#include "arrow_quant/config/options.h"

#include <algorithm>

#include "arrow_quant/config/config_fields.h"
#include "arrow_quant/config/field_access.h"
#include "arrow_quant/config/nearest_name.h"

namespace arrow_quant {
namespace {

constexpr std::string_view kProfileOption = "deployment_profile";

[[noreturn]] void throw_unknown(std::string_view name) {
  std::vector<std::string> names;
  std::vector<std::string> paths;
  for (const FieldDoc& field : config_field_docs()) {
    names.push_back(field.name);
    if (!field.alias.empty()) {
      names.push_back(field.alias);
    }
    if (const std::string section = field.path.substr(0, field.path.find('.'));
        !section.empty() && std::find(names.begin(), names.end(), section) == names.end()) {
      names.push_back(section);
    }
    paths.push_back(field.path);
  }
  const bool nested = name.find('.') != name.npos;
  const std::string nearest = nearest_name(name, nested ? paths : names);
  throw Error(ErrorCode::Configuration, "unknown option " + value_text(std::string(name)) + ": " +
                                            (nearest.empty() ? "allowed are " + join(names, ", ")
                                                             : "did you mean " + nearest + "?"));
}

// Calls visit(info, member) for the one field of that name.
template <class Config, class Visitor>
void visit_field(Config& config, std::string_view name, Visitor&& visit) {
  const std::string_view field = config_field_name(name);
  visit_fields(config, [&](const FieldInfo& info, auto& member) {
    if (info.name == field) {
      visit(info, member);
    }
  });
}

// Runs `action`; what it throws gets `where` in front.
template <class Action>
void with_origin(const std::string& where, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    throw Error(error.code(), where.empty() ? error.what() : where + ": " + error.what());
  }
}

}  // namespace

const std::vector<FieldDoc>& config_field_docs() {
  static const std::vector<FieldDoc> docs = [] {
    std::vector<FieldDoc> all;
    const DiffusionQuantConfig defaults;
    visit_fields(defaults, [&](const FieldInfo& info, const auto& member) {
      using T = std::remove_cvref_t<decltype(member)>;
      all.push_back(FieldDoc{.name = std::string(info.name),
                             .alias = std::string(info.alias),
                             .path = std::string(info.path),
                             .flags = std::string(info.flags),
                             .doc = std::string(info.doc),
                             .kind = kind_of<T>(),
                             .nullable = IsOptional<T>::value,
                             .choices = choices_of<T>(info),
                             .allowed = allowed_text<T>(info),
                             .changes_output = info.changes_output,
                             .default_value = value_of(member)});
    });
    return all;
  }();
  return docs;
}

size_t num_positional_fields() {
  size_t count = 0;
  const DiffusionQuantConfig defaults;
  visit_positional_fields(defaults, [&](const FieldInfo&, const auto&) { ++count; });
  return count;
}

std::string_view config_field_name(std::string_view name) {
  for (const FieldDoc& field : config_field_docs()) {
    if (!name.empty() && (field.name == name || field.alias == name || field.path == name)) {
      return field.name;
    }
  }
  throw_unknown(name);
}

ConfigValue config_get(const DiffusionQuantConfig& config, std::string_view name) {
  ConfigValue value;
  visit_field(config, name,
              [&](const FieldInfo&, const auto& member) { value = value_of(member); });
  return value;
}

void config_set(DiffusionQuantConfig& config, std::string_view name, const ConfigValue& value) {
  visit_field(config, name, [&](const FieldInfo& info, auto& member) {
    if (!assign(value, member)) {
      reject(info, value, needed_text<std::remove_cvref_t<decltype(member)>>(info));
    }
  });
}

DiffusionQuantConfig apply_options(const std::vector<GivenOption>& given) {
  DiffusionQuantConfig config;
  const auto apply = [&](const GivenOption& option) {
    with_origin(option.where, [&] { config_set(config, option.name, option.value); });
  };
  for (const GivenOption& option : given) {
    if (option.name == kProfileOption) {
      apply(option);
    }
  }
  config = DiffusionQuantConfig::from_profile(config.deployment_profile);
  for (const GivenOption& option : given) {
    apply(option);
  }
  return config;
}

void validate_options(const DiffusionQuantConfig& config, const std::vector<GivenOption>& given) {
  visit_fields(config, [&](const FieldInfo& info, const auto& member) {
    const auto last = std::find_if(given.rbegin(), given.rend(), [&](const GivenOption& option) {
      return info.name == config_field_name(option.name);
    });
    with_origin(last == given.rend() ? "" : last->where, [&] { check(info, member); });
  });
  if (config.target_bits_per_weight && config.target_size_mb) {
    throw Error(ErrorCode::Configuration,
                "target_bits_per_weight = " + value_text(*config.target_bits_per_weight) +
                    " and target_size_mb = " + value_text(*config.target_size_mb) +
                    ": only one of the two can hold; give one");
  }
}

}  // namespace arrow_quant
