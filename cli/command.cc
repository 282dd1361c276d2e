#include "cli/command.h"

namespace arrow_quant::cli {

Command::Command(CLI::App& parent, const std::string& name, const std::string& description,
                 const std::string& examples)
    : app_(parent.add_subcommand(name, description)) {
  app_->add_flag("--json", json_, "print one JSON object on standard output, and nothing else");
  app_->add_flag("-q,--quiet", quiet_, "print no progress and no summary");
  app_->footer("Examples:\n" + examples);
}

}  // namespace arrow_quant::cli
