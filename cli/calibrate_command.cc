#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "arrow_quant/core/error.h"
#include "cli/command.h"

namespace arrow_quant::cli {
namespace {

namespace fs = std::filesystem;

// Python's own message for a missing module has no remedy.
constexpr const char* kProgram = R"(
import json, sys
try:
    from arrow_quant_v2.calibration.__main__ import main
except ImportError as error:
    message = (
        f"calibrate runs the Python package arrow_quant_v2, and {sys.executable} cannot import it "
        f"({error}); run: {sys.executable} -m pip install 'arrow-quant-v2[torch]'"
    )
    print("arrow-quant: " + message, file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": {"code": "MissingPackage", "message": message}}))
    sys.exit(1)
sys.exit(main())
)";

// The interpreter that the package was installed for lies beside the program; else the one that
// PATH finds.
std::string python() {
  std::error_code ignored;
  const fs::path folder = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const char* name : {"python3", "python"}) {
    if (const fs::path beside = folder / name; access(beside.c_str(), X_OK) == 0) {
      return beside.string();
    }
  }
  return "python3";
}

// Puts Python in the place of this process, so that signals and the exit code are its own.
[[noreturn]] void become(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) {
    pointers.push_back(const_cast<char*>(word.c_str()));  // execvp does not write to them
  }
  pointers.push_back(nullptr);
  execvp(pointers.front(), pointers.data());
  const int problem = errno;
  throw Error(ErrorCode::Io,
              "calibrate runs Python, and cannot start " + words.front() + ": " +
                  std::generic_category().message(problem) +
                  "; install Python 3.10 or newer, then: pip install 'arrow-quant-v2[torch]'",
              words.front(), problem);
}

class CalibrateCommand : public Command {
 public:
  explicit CalibrateCommand(CLI::App& parent)
      : Command(parent, "calibrate",
                "Run a model and collect what the inputs of its layers look like at each "
                "timestep. Needs the Python package with torch.",
                "  arrow-quant calibrate models/dit --out models/dit/calibration.parquet\n"
                "  arrow-quant calibrate models/sd3 --out sd3.parquet --prompts prompts.txt "
                "--steps 28 --samples 64") {
    app()
        ->add_option("model", model_, "folder of a diffusers pipeline or of a transformers model")
        ->required()
        ->type_name("MODEL");
    app()->add_option("--out", out_, "the file to write")->required()->type_name("FILE");
    app()->add_option("--steps", steps_, "sampling steps")->type_name("INT")->capture_default_str();
    app()
        ->add_option("--samples", samples_, "trajectories")
        ->type_name("INT")
        ->capture_default_str();
    app()
        ->add_option("--prompts", prompts_,
                     "file of prompts, classes or texts: one per line, or a list in JSON")
        ->type_name("FILE");
    app()
        ->add_option("--seed", seed_, "of the noise, and of which rows are stored")
        ->type_name("INT")
        ->capture_default_str();
    app()->add_flag("--no-hessian", no_hessian_, "leave XᵀX out, which compensation needs");
  }

  int run() override {
    std::vector<std::string> words = {python(),
                                      "-c",
                                      kProgram,
                                      "--out=" + out_,
                                      "--steps=" + std::to_string(steps_),
                                      "--samples=" + std::to_string(samples_),
                                      "--seed=" + std::to_string(seed_)};
    const auto add_if = [&](bool given, const std::string& word) {
      if (given) {
        words.push_back(word);
      }
    };
    add_if(!prompts_.empty(), "--prompts=" + prompts_);
    add_if(no_hessian_, "--no-hessian");
    add_if(json(), "--json");
    add_if(quiet(), "--quiet");
    words.insert(words.end(), {"--", model_});
    become(words);
  }

 private:
  std::string model_;
  std::string out_;
  std::string prompts_;
  int64_t steps_ = 50;
  int64_t samples_ = 128;
  int64_t seed_ = 0;
  bool no_hessian_ = false;
};

}  // namespace

std::unique_ptr<Command> make_calibrate_command(CLI::App& parent) {
  return std::make_unique<CalibrateCommand>(parent);
}

}  // namespace arrow_quant::cli
