// A command of the command line: its flags, and what it does once they are parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

namespace arrow_quant::cli {

enum ExitCode : int {
  kOk = 0,
  kFailed = 1,
  kWrongUsage = 2,
  kQualityBelowThreshold = 3,
  kSignalBase = 128,  // plus the number of the signal that stopped the run
};

class Command {
 public:
  virtual ~Command() = default;
  // Does the work and prints the result; returns the exit code. Throws: Error.
  virtual int run() = 0;
  // What is said when a signal stopped run().
  virtual std::string stopped_text() const { return "stopped"; }

  CLI::App* app() const { return app_; }
  bool json() const { return json_; }
  bool quiet() const { return quiet_; }

 protected:
  // Adds the subcommand `name` with the flags that all commands have.
  Command(CLI::App& parent, const std::string& name, const std::string& description,
          const std::string& examples);

 private:
  CLI::App* app_;
  bool json_ = false;
  bool quiet_ = false;
};

std::unique_ptr<Command> make_quantize_command(CLI::App& parent);
std::unique_ptr<Command> make_validate_command(CLI::App& parent);
std::unique_ptr<Command> make_inspect_command(CLI::App& parent);
std::unique_ptr<Command> make_calibrate_command(CLI::App& parent);

}  // namespace arrow_quant::cli
