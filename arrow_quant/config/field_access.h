// From a member of DiffusionQuantConfig, of whatever type, to the one type of option values and
// back. Behind options.h; templates over the members' types.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "arrow_quant/config/field_info.h"
#include "arrow_quant/config/options.h"
#include "arrow_quant/config/value_text.h"

namespace arrow_quant {

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
  } else if constexpr (std::is_same_v<T, NamedInts>) {
    return OptionKind::IntMap;
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

// "2, 4, 8", "0 … 1", "> 0"; "" if anything of the type goes.
template <class T>
std::string allowed_text(const FieldInfo& info) {
  if (const auto choices = choices_of<T>(info); !choices.empty()) {
    return join(choices, ", ");
  }
  if (kind_of<T>() == OptionKind::Int || kind_of<T>() == OptionKind::Float) {
    return std::isfinite(info.max) ? number_text(info.min) + " … " + number_text(info.max)
                                   : (info.above_min ? "> " : "≥ ") + number_text(info.min);
  }
  return kind_of<T>() == OptionKind::Bool ? "true, false" : "";
}

inline std::string allowed_sentence(const std::string& allowed) {
  return (allowed.find(", ") == std::string::npos ? "allowed is " : "allowed are ") + allowed;
}

// What would have been of the right type.
template <class T>
std::string needed_text(const FieldInfo& info) {
  const std::string allowed = allowed_text<T>(info);
  switch (kind_of<T>()) {
    case OptionKind::Int:
      return "an integer is needed; " + allowed_sentence(allowed);
    case OptionKind::Float:
      return "a number is needed; " + allowed_sentence(allowed);
    case OptionKind::StringList:
      return "a list of strings is needed, such as [\"name\"]";
    case OptionKind::IntMap:
      return "a mapping from names to integers is needed, such as {\"name\": 8}";
    case OptionKind::String:
    case OptionKind::Bool:
      break;
  }
  return allowed.empty() ? "a string is needed, such as \"name\"" : allowed_sentence(allowed);
}

[[noreturn]] inline void reject(const FieldInfo& info, const ConfigValue& value,
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
  const bool null = std::holds_alternative<std::monostate>(value);
  if constexpr (IsOptional<T>::value) {
    typename IsOptional<T>::Value inner{};
    if (!null && !assign(value, inner)) {
      return false;
    }
    member = null ? std::nullopt : std::optional(std::move(inner));
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
    } else if constexpr (std::is_same_v<T, std::vector<std::string>> ||
                         std::is_same_v<T, NamedInts>) {
      if (null) {
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

inline bool is_allowed(const FieldInfo& info, double number) {
  if (!info.one_of.empty()) {
    return std::find(info.one_of.begin(), info.one_of.end(), number) != info.one_of.end();
  }
  return std::isfinite(number) && number >= info.min && number <= info.max &&
         !(info.above_min && number == info.min);
}

// Throws unless the member's value is allowed.
template <class T>
void check(const FieldInfo& info, const T& member) {
  if constexpr (IsOptional<T>::value) {
    if (member) {
      check(info, *member);
    }
  } else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
    if (!is_allowed(info, static_cast<double>(member))) {
      reject(info, member, allowed_sentence(allowed_text<T>(info)));
    }
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (member.empty()) {
      reject(info, member, "it must not be empty; leave it out instead");
    }
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    if (std::find(member.begin(), member.end(), "") != member.end()) {
      reject(info, member, "an entry must not be empty");
    }
  } else if constexpr (std::is_same_v<T, NamedInts>) {
    std::set<std::string> names;
    for (const auto& [name, number] : member) {
      if (name.empty()) {
        reject(info, member, "a name must not be empty");
      }
      if (!names.insert(name).second) {
        reject(info, member, "a name stands there twice; each may have one number");
      }
      if (!is_allowed(info, static_cast<double>(number))) {
        reject(info, NamedInts{{name, number}}, allowed_sentence(allowed_text<int64_t>(info)));
      }
    }
  }
}

}  // namespace arrow_quant
