#include "arrow_quant/config/options.h"

#include <algorithm>
#include <type_traits>

#include "arrow_quant/config/config_fields.h"
#include "arrow_quant/config/nearest_name.h"
#include "arrow_quant/config/value_text.h"

namespace arrow_quant {
namespace {

constexpr std::string_view kProfileOption = "deployment_profile";

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {
  using Value = T;
};

template <class T>
constexpr OptionKind kind_of() {
  if constexpr (IsOptional<T>::value) {
    return kind_of<typename IsOptional<T>::Value>();
  } else if constexpr (std::is_same_v<T, bool>) {
    return OptionKind::Bool;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return OptionKind::Int;
  } else if constexpr (std::is_same_v<T, double>) {
    return OptionKind::Float;
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    return OptionKind::StringList;
  } else {
    static_assert(std::is_enum_v<T> || std::is_same_v<T, std::string>);
    return OptionKind::String;
  }
}

template <class T>
std::vector<std::string> choices_of(const FieldInfo& info) {
  std::vector<std::string> choices;
  if constexpr (IsOptional<T>::value) {
    return choices_of<typename IsOptional<T>::Value>(info);
  } else if constexpr (std::is_enum_v<T>) {
    for (const T value : kEnumerators<T>) {
      choices.emplace_back(to_string(value));
    }
  } else {
    for (const double value : info.one_of) {
      choices.push_back(number_text(value));
    }
  }
  return choices;
}

template <class T>
std::string allowed_text(const FieldInfo& info) {
  if (const auto choices = choices_of<T>(info); !choices.empty()) {
    return join(choices, ", ");
  }
  if (kind_of<T>() == OptionKind::Int || kind_of<T>() == OptionKind::Float) {
    return number_text(info.min) + " … " + number_text(info.max);
  }
  return kind_of<T>() == OptionKind::Bool ? "true, false" : "";
}

template <class T>
std::string needed_text(const FieldInfo& info) {
  const std::string allowed = allowed_text<T>(info);
  const char* const verb = allowed.find(", ") == std::string::npos ? "allowed is " : "allowed are ";
  switch (kind_of<T>()) {
    case OptionKind::Int:
      return "an integer is needed; " + (verb + allowed);
    case OptionKind::Float:
      return "a number is needed; " + (verb + allowed);
    case OptionKind::StringList:
      return "a list of strings is needed, such as [\"name\"]";
    case OptionKind::String:
    case OptionKind::Bool:
      break;
  }
  return allowed.empty() ? "a string is needed, such as \"name\"" : verb + allowed;
}

[[noreturn]] void reject(const FieldInfo& info, const ConfigValue& value,
                         const std::string& problem) {
  throw Error(info.code, std::string(info.name) + " = " + value_text(value) + ": " + problem);
}

template <class T>
ConfigValue value_of(const T& member) {
  if constexpr (IsOptional<T>::value) {
    return member ? value_of(*member) : ConfigValue();
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(to_string(member));
  } else {
    return member;
  }
}

// Whether `value` is of the type of `member`, which is then set.
template <class T>
bool assign(const ConfigValue& value, T& member) {
  if constexpr (IsOptional<T>::value) {
    if (std::holds_alternative<std::monostate>(value)) {
      member.reset();
      return true;
    }
    typename IsOptional<T>::Value inner{};
    if (!assign(value, inner)) {
      return false;
    }
    member = std::move(inner);
    return true;
  } else if constexpr (std::is_enum_v<T>) {
    const auto* const name = std::get_if<std::string>(&value);
    for (const T candidate : kEnumerators<T>) {
      if (name && to_string(candidate) == *name) {
        member = candidate;
        return true;
      }
    }
    return false;
  } else {
    if constexpr (std::is_same_v<T, double>) {
      if (const auto* const integer = std::get_if<int64_t>(&value)) {
        member = static_cast<double>(*integer);
        return true;
      }
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      if (std::holds_alternative<std::monostate>(value)) {
        member.clear();
        return true;
      }
    }
    const T* const same = std::get_if<T>(&value);
    if (same) {
      member = *same;
    }
    return same != nullptr;
  }
}

// Throws unless the member's value is allowed.
template <class T>
void check(const FieldInfo& info, const T& member) {
  if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
    const double number = static_cast<double>(member);
    const bool allowed = info.one_of.empty() ? number >= info.min && number <= info.max
                                             : std::find(info.one_of.begin(), info.one_of.end(),
                                                         number) != info.one_of.end();
    if (!allowed) {
      const char* const verb = info.one_of.empty() ? "allowed is " : "allowed are ";
      reject(info, member, verb + allowed_text<T>(info));
    }
  } else if constexpr (std::is_same_v<T, std::optional<std::string>>) {
    if (member && member->empty()) {
      reject(info, *member, "it must not be empty; leave it out instead");
    }
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    if (std::find(member.begin(), member.end(), "") != member.end()) {
      reject(info, member, "an entry must not be empty");
    }
  }
}

[[noreturn]] void throw_unknown(std::string_view name) {
  std::vector<std::string> names;
  for (const FieldDoc& field : config_field_docs()) {
    names.push_back(field.name);
    if (!field.alias.empty()) {
      names.push_back(field.alias);
    }
  }
  const std::string nearest = nearest_name(name, names);
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

std::string_view config_field_name(std::string_view name) {
  for (const FieldDoc& field : config_field_docs()) {
    if (field.name == name || (!field.alias.empty() && field.alias == name)) {
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
}

}  // namespace arrow_quant
