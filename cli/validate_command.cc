#include "arrow_quant/pipeline/orchestrator.h"
#include "arrow_quant/pipeline/result_json.h"
#include "cli/command.h"
#include "cli/config_flags.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/tracked_run.h"

namespace arrow_quant::cli {
namespace {

class ValidateCommand : public Command {
 public:
  explicit ValidateCommand(CLI::App& parent)
      : Command(parent, "validate",
                "Measure a quantized model against its original; exit code 3 if a layer is below "
                "the min accuracy that it was made with.",
                "  arrow-quant validate models/dit out/dit-int4\n"
                "  arrow-quant validate models/dit out/dit-int4 --json > validation.json"),
        flags_(*app(), [](const FieldDoc& field) {
          return field.name == "num_threads" || field.name == "variant";
        }) {
    app()
        ->add_option("original", original_, "the model that was quantized")
        ->required()
        ->type_name("ORIGINAL");
    app()
        ->add_option("quantized", quantized_, "directory that quantize wrote")
        ->required()
        ->type_name("QUANTIZED");
  }

  int run() override {
    const DiffusionQuantConfig config = flags_.config();
    const ValidationResult result = [&] {
      TrackedRun tracked(quiet(), original_, config);
      return DiffusionOrchestrator(config).validate_quality(original_, quantized_, tracked.hooks());
    }();
    if (json()) {
      print(to_json(result) + "\n");
    } else if (!quiet()) {
      print(report(result));
    }
    return result.passed ? kOk : kQualityBelowThreshold;
  }

 private:
  std::string original_;
  std::string quantized_;
  ConfigFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_validate_command(CLI::App& parent) {
  return std::make_unique<ValidateCommand>(parent);
}

}  // namespace arrow_quant::cli
