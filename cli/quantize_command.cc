#include "arrow_quant/pipeline/orchestrator.h"
#include "arrow_quant/pipeline/result_json.h"
#include "cli/command.h"
#include "cli/config_flags.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/tracked_run.h"

namespace arrow_quant::cli {
namespace {

class QuantizeCommand : public Command {
 public:
  explicit QuantizeCommand(CLI::App& parent)
      : Command(parent, "quantize", "Make a model small.",
                "  arrow-quant quantize models/dit out/dit-int4 --bits 4\n"
                "  arrow-quant quantize model.safetensors out/model-int2 --profile edge\n"
                "  arrow-quant quantize models/sd3 out/sd3 --config options.yaml --keep proj_out\n"
                "  arrow-quant quantize models/dit out/dit-int8 --bits 8 --json > result.json"),
        flags_(*app(), [](const FieldDoc&) { return true; }) {
    app()
        ->add_option("model", model_, "directory or .safetensors file of the model")
        ->required()
        ->type_name("MODEL");
    app()->add_option("output", output_, "directory to write")->required()->type_name("OUTPUT");
  }

  int run() override {
    const DiffusionQuantConfig config = flags_.config();
    const QuantizationResult result = [&] {
      TrackedRun tracked(quiet(), model_, config);
      return DiffusionOrchestrator(config).quantize_model(model_, output_, tracked.hooks());
    }();
    for (const std::string& warning : result.warnings) {
      complain("warning: " + warning);
    }
    if (json()) {
      print(to_json(result) + "\n");
    } else if (!quiet()) {
      print(report(result));
    }
    return kOk;
  }

  std::string stopped_text() const override {
    return "stopped; the same command takes the run up again";
  }

 private:
  std::string model_;
  std::string output_;
  ConfigFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_quantize_command(CLI::App& parent) {
  return std::make_unique<QuantizeCommand>(parent);
}

}  // namespace arrow_quant::cli
