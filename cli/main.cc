// arrow-quant: the command line. Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 quality below the
// threshold, 128 + n stopped by signal n.
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <sstream>
#include <string_view>

#include "arrow_quant/config/nearest_name.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/core/version.h"
#include "arrow_quant/pipeline/result_json.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace arrow_quant::cli {
namespace {

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::Configuration:
    case ErrorCode::InvalidBitWidth:
      return kWrongUsage;
    case ErrorCode::QualityBelowThreshold:
      return kQualityBelowThreshold;
    case ErrorCode::Cancelled:
      return kSignalBase + Interrupt::signal_received();
    default:
      return kFailed;
  }
}

// Tells of a failure in the way that was asked for.
int fail(int exit_code, bool json, std::string_view code, const std::string& message) {
  complain(message);
  if (json) {
    try {
      print(error_json(code, message) + "\n");
    } catch (const Error& error) {
      if (error.what() != message) {  // else it is standard output that failed, and this was said
        complain(error.what());
      }
    }
  }
  return exit_code;
}

int run(Command& command) {
  try {
    return command.run();
  } catch (const Error& error) {
    const bool stopped = error.code() == ErrorCode::Cancelled;
    const std::string message = stopped ? command.stopped_text() : error.what();
    return fail(exit_code_of(error.code()), command.json(), to_string(error.code()), message);
  } catch (const std::bad_alloc&) {
    return fail(kFailed, command.json(), "OutOfMemory", "out of memory");
  } catch (const std::exception& error) {
    return fail(kFailed, command.json(), "Internal", error.what());
  }
}

// Help with wide columns, where "--no-x{false}" is "--no-x".
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(44); }
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    std::string name = CLI::Formatter::make_option_name(option, is_positional);
    if (const size_t at = name.find("{false}"); at != std::string::npos) {
      name.erase(at);
    }
    return name;
  }
};

// The flags of a command, or the commands where none was chosen.
std::vector<std::string> known_words(const CLI::App& app, const CLI::App* command) {
  std::vector<std::string> known;
  for (const CLI::Option* const option : (command ? command : &app)->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      known.push_back("--" + name);
    }
  }
  if (!command) {
    for (const CLI::App* const other : app.get_subcommands(nullptr)) {
      known.push_back(other->get_name());
    }
  }
  return known;
}

bool is_flag(const std::string& argument) {
  return argument.starts_with('-');
}

// What is wrong with the arguments that the parser had no use for. An unknown flag comes before its
// value, and an unknown command before its flags.
std::string usage_problem(const CLI::App& app, const CLI::App* command,
                          const CLI::ParseError& error) {
  const std::vector<std::string> rest = (command ? command : &app)->remaining();
  const auto first = std::find_if(rest.begin(), rest.end(), [&](const std::string& argument) {
    return is_flag(argument) == (command != nullptr);
  });
  if (rest.empty() || (!command && rest.front() == "--json" && first == rest.end())) {
    return error.what();
  }
  const std::string& problem = first != rest.end() ? *first : rest.front();
  const std::string nearest =
      nearest_name(problem.substr(0, problem.find('=')), known_words(app, command));
  return (is_flag(problem) ? "unknown flag "
          : command        ? "unexpected argument "
                           : "unknown command ") +
         problem + (nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

// What the parser has to say: help and version, or a wrong usage.
int report(const CLI::App& app, const CLI::ParseError& error, bool json) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    std::ostringstream text;
    app.exit(error, text, text);
    print(text.str());
    return kOk;
  }
  const auto chosen = app.get_subcommands();
  const CLI::App* const command = chosen.empty() ? nullptr : chosen.front();
  return fail(kWrongUsage, json, "Usage",
              usage_problem(app, command, error) + "\nsee arrow-quant " +
                  (command ? command->get_name() + " " : "") + "--help");
}

// For failures before or while parsing, when no command can be asked.
bool wants_json(int argc, char** argv) {
  return std::any_of(argv, argv + argc, [](std::string_view arg) { return arg == "--json"; });
}

int main_function(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write, not the end
  CLI::App app("Quantizes diffusion models to 2, 4 or 8 bits, and shows what was lost.",
               "arrow-quant");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_version_flag("--version", std::string("arrow-quant ") + kVersion);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  arrow-quant quantize models/dit out/dit-int4 --bits 4\n"
      "  arrow-quant validate models/dit out/dit-int4\n"
      "  arrow-quant inspect out/dit-int4\n"
      "\n"
      "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 quality below the threshold");
  const std::unique_ptr<Command> commands[] = {
      make_quantize_command(app), make_validate_command(app), make_inspect_command(app),
      make_calibrate_command(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report(app, error, wants_json(argc, argv));
  }
  for (const auto& command : commands) {
    if (command->app()->parsed()) {
      return run(*command);
    }
  }
  return kWrongUsage;
}

}  // namespace
}  // namespace arrow_quant::cli

int main(int argc, char** argv) {
  try {
    return arrow_quant::cli::main_function(argc, argv);
  } catch (const std::exception& error) {
    arrow_quant::cli::complain(error.what());
    return arrow_quant::cli::kFailed;
  }
}
