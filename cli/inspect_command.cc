#include "arrow_quant/pipeline/inspect.h"
#include "arrow_quant/pipeline/result_json.h"
#include "cli/command.h"
#include "cli/config_flags.h"
#include "cli/output.h"
#include "cli/report.h"

namespace arrow_quant::cli {
namespace {

class InspectCommand : public Command {
 public:
  explicit InspectCommand(CLI::App& parent)
      : Command(parent, "inspect",
                "List the tensors of a model: of a quantized one as stored, of a source as "
                "quantize would store them. No weight is read.",
                "  arrow-quant inspect out/dit-int4\n"
                "  arrow-quant inspect models/dit --bits 2 --keep proj_out\n"
                "  arrow-quant inspect out/dit-int4 --json | python -m json.tool"),
        flags_(*app(), [](const FieldDoc& field) {
          return field.changes_output || field.name == "deployment_profile";
        }) {
    app()->add_option("path", path_, "a model, quantized or not")->required()->type_name("PATH");
  }

  int run() override {
    const ModelInspection inspection = inspect_model(path_, flags_.config());
    for (const std::string& warning : inspection.warnings) {
      complain("warning: " + warning);
    }
    if (json()) {
      print(to_json(inspection) + "\n");
    } else if (!quiet()) {
      print(report(inspection));
    }
    return kOk;
  }

 private:
  std::string path_;
  ConfigFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command(CLI::App& parent) {
  return std::make_unique<InspectCommand>(parent);
}

}  // namespace arrow_quant::cli
