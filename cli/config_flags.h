// ConfigFlags: --config and one flag for each option of the library's list.
#pragma once

#include <CLI/CLI.hpp>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "arrow_quant/config/options.h"

namespace arrow_quant::cli {

class ConfigFlags {
 public:
  // Adds the flags of those options that `wanted` chooses.
  ConfigFlags(CLI::App& app, const std::function<bool(const FieldDoc&)>& wanted);

  // Flags before the file, the file before the environment, the environment before the profile.
  // To be called after parsing.
  // Throws: Error(Configuration), Error(InvalidBitWidth), also for a file that cannot be read.
  DiffusionQuantConfig config() const;

 private:
  struct Flag {
    explicit Flag(const FieldDoc& of) : field(&of) {}
    const FieldDoc* field;
    CLI::Option* option = nullptr;
    std::vector<std::string> texts;
    bool on = false;
  };
  void add(CLI::App& app, Flag& flag);
  static ConfigValue value_of(const Flag& flag);

  std::string config_path_;
  std::deque<Flag> flags_;  // stays in place: the parser points into it
};

}  // namespace arrow_quant::cli
