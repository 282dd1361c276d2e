#include "arrow_quant/pipeline/quantize_model.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "arrow_quant/core/atomic_file.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/core/log.h"
#include "arrow_quant/core/memory.h"
#include "arrow_quant/io/component_config.h"
#include "arrow_quant/io/file_copy.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/totals.h"
#include "arrow_quant/pipeline/calibration.h"
#include "arrow_quant/pipeline/component_run.h"
#include "arrow_quant/pipeline/foreign_quantization.h"
#include "arrow_quant/pipeline/markov_report.h"
#include "arrow_quant/pipeline/mechanisms.h"
#include "arrow_quant/pipeline/memory_needs.h"
#include "arrow_quant/pipeline/output_dir.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/pipeline/run_identity.h"
#include "arrow_quant/pipeline/run_memory.h"
#include "arrow_quant/pipeline/shared_bits.h"
#include "arrow_quant/pipeline/time_grouping.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

FileRecord copy_file(const fs::path& relative, const fs::path& from, const fs::path& to,
                     const CancelToken* cancel) {
  std::error_code error;
  fs::create_directories((to / relative).parent_path(), error);
  if (error) {
    throw_io_error("create the directory", (to / relative).parent_path(), error.value());
  }
  FileRecord record{relative.string(), 0, ""};
  Xxh3_128 hash;
  const auto count = [&](std::span<const uint8_t> bytes) {
    record.size_bytes += bytes.size();
    hash.update(bytes);
  };
  copy_file_durably(from / relative, to / relative, count, cancel);
  record.xxh3_128 = hash.hex_digest();
  return record;
}

// config.json of a component, saying what was done to it.
FileRecord write_component_config(const ComponentRecord& component, const ModelComponent& source,
                                  const DiffusionQuantConfig& config, const fs::path& output) {
  const int bits = has_target(config) ? add_up(layers_of({component}), 0).commonest_bit_width
                                      : static_cast<int>(config.bit_width);
  QuantizationConfigEntry entry{
      bits, static_cast<int>(config.group_size), std::string(to_string(config.method)), {}};
  for (const PartRecord& part : component.parts) {
    for (const TensorRecord& tensor : part.tensors) {
      if (tensor.report.quant_type == "none" && tensor.report.shape.size() >= 2) {
        entry.modules_to_not_convert.push_back(tensor.report.name);
      }
    }
  }
  const fs::path relative = source.subdir / "config.json";
  const std::string text = add_quantization_config(source.config_json, entry, relative.string());
  AtomicFile file(output / relative);
  file.write(text);
  file.commit();
  Xxh3_128 hash;
  hash.update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return {relative.string(), text.size(), hash.hex_digest()};
}

QuantizationResult make_result(const Manifest& manifest, const fs::path& output,
                               const DiffusionQuantConfig& config) {
  QuantizationResult result;
  result.quantized_path = output;
  result.layers = layers_of(manifest.components);
  const Totals totals = add_up(result.layers, part_bytes_of(manifest.components));
  result.compression_ratio = totals.compression_ratio;
  result.cosine_similarity = totals.cosine_similarity;
  result.worst_cosine_similarity = totals.worst_cosine_similarity;
  result.worst_layer = totals.worst_layer;
  result.sqnr_db = totals.sqnr_db;
  result.model_size_mb = static_cast<double>(totals.part_bytes) / 1e6;
  result.modality = manifest.modality;
  result.modality_evidence = manifest.modality_evidence;
  result.bit_width =
      has_target(config) ? totals.commonest_bit_width : static_cast<int>(config.bit_width);
  result.bits_per_weight = totals.bits_per_weight;
  result.bits_per_weight_model = totals.bits_per_weight_model;
  result.num_quantized = totals.num_quantized;
  result.num_kept = totals.num_kept;
  for (const ComponentRecord& component : manifest.components) {
    for (const PartRecord& part : component.parts) {
      result.promotions.insert(result.promotions.end(), part.promotions.begin(),
                               part.promotions.end());
    }
  }
  result.allocation = manifest.allocation;
  result.warnings = manifest.warnings;
  return result;
}

// The run proper, once it is clear where it writes.
class Run {
 public:
  Run(const ModelDir& model, Plan& plan, const DiffusionQuantConfig& config, const RunHooks& hooks,
      RunMemory& memory, Calibration* calibration, Manifest manifest, std::string fingerprint,
      OutputDir& output, Progress& progress)
      : model_(model),
        plan_(plan),
        config_(config),
        hooks_(hooks),
        memory_(memory),
        calibration_(calibration),
        manifest_(std::move(manifest)),
        output_(output),
        progress_(progress) {
    if (output_.journal()) {
      journal_ = *output_.journal();
    }
    journal_.fingerprint = std::move(fingerprint);
  }

  const Manifest& execute() {
    if (has_target(config_)) {
      decide_bits();
    }
    for (size_t i = 0; i < plan_.components.size(); ++i) {
      quantize_component(i);
    }
    for (const fs::path& path : model_.copied) {
      manifest_.copied_files.push_back(copy_file(path, model_.root, output_.path(), hooks_.cancel));
    }
    for (size_t i = 0; i < plan_.components.size(); ++i) {
      manifest_.copied_files.push_back(write_component_config(
          manifest_.components[i], *plan_.components[i].source, config_, output_.path()));
    }
    if (manifest_.allocation) {
      manifest_.allocation->reached = reached(*manifest_.allocation, manifest_.components);
    }
    check_cancelled(hooks_.cancel);  // the last chance: from here on the model stands
    output_.publish(to_json(manifest_));
    return manifest_;
  }

  bool resumed() const { return resumed_; }

 private:
  // Before the first part: the plan follows from it.
  void decide_bits() {
    const MeasureContext context{.config = &config_,
                                 .num_threads = memory_.num_threads(),
                                 .progress = &progress_,
                                 .cancel = hooks_.cancel,
                                 .shared = hooks_.shared};
    size_t metadata_bytes = 0;
    for (const PlannedComponent& component : plan_.components) {
      size_t bytes = 0;
      for (const auto& [key, value] : part_metadata(component)) {
        bytes += key.size() + value.size();
      }
      metadata_bytes = std::max(metadata_bytes, bytes);
    }
    SharedBits bits = share_bits(plan_, metadata_bytes, journal_.allocation, context);
    if (!bits.recorded) {
      output_.start_over(journal_.fingerprint);
      journal_ = {journal_.fingerprint, {}, bits.record};
      output_.write_journal(journal_);
    }
    manifest_.allocation = std::move(bits.record.allocation);
  }

  std::map<std::string, std::string> part_metadata(const PlannedComponent& component) const {
    return {{"component", component.source->name},
            {"modality", manifest_.modality},
            {"tool_version", manifest_.tool_version},
            {"options", to_json(manifest_.options)}};
  }

  void quantize_component(size_t index) {
    const PlannedComponent& component = plan_.components[index];
    ComponentRun::Context context;
    context.model = &model_;
    context.config = &config_;
    context.modality = manifest_.modality;
    context.output_dir = output_.path() / component.source->subdir;
    context.output_subdir = component.source->subdir;
    context.part_metadata = part_metadata(component);
    context.num_threads = memory_.num_threads();
    context.spare_bytes = memory_.spare_bytes();
    context.memory = &memory_.budget();
    context.shared = hooks_.shared;
    ComponentTime time;
    if (calibration_ != nullptr) {
      progress_.message("grouping timesteps");
      time = group_timesteps(
          component, {&config_, calibration_, memory_.num_threads(), hooks_.shared, hooks_.cancel});
    }
    context.calibration = calibration_;
    context.time = &time;
    context.progress = &progress_;
    context.cancel = hooks_.cancel;
    journal_.components.resize(std::max(journal_.components.size(), index + 1));
    context.on_part = [&, index](const ComponentRecord& record) {
      journal_.components[index] = record;
      output_.write_journal(journal_);
    };
    std::error_code error;
    fs::create_directories(context.output_dir, error);
    if (error) {
      throw_io_error("create the directory", context.output_dir, error.value());
    }
    ComponentRun run(component, std::move(context));
    manifest_.components.push_back(run.run(journal_.components[index]));
    resumed_ = resumed_ || run.used_finished_parts();
    for (FileRecord& file : run.source_files()) {
      manifest_.source_files.push_back(std::move(file));
    }
  }

  const ModelDir& model_;
  Plan& plan_;
  const DiffusionQuantConfig& config_;
  const RunHooks& hooks_;
  RunMemory& memory_;
  Calibration* calibration_;
  Manifest manifest_;
  OutputDir& output_;
  Progress& progress_;
  Journal journal_;
  bool resumed_ = false;
};

// Failures after which the same run may go on where it stopped.
bool is_worth_resuming(const RunHooks& hooks) {
  try {
    throw;
  } catch (const Error& error) {
    return error.code() == ErrorCode::Io ||
           (error.code() == ErrorCode::Cancelled && hooks.keep_unfinished);
  } catch (...) {
    return hooks.keep_unfinished;  // the caller's own, out of its callback
  }
}

// What a finished run left, if it is what this run would make. Throws: Error(OutputExists) if it is
// not, and must stay.
std::optional<QuantizationResult> result_that_stands(OutputDir& output, const Manifest& wanted,
                                                     const ModelDir& model,
                                                     const fs::path& output_path,
                                                     const DiffusionQuantConfig& config,
                                                     const CancelToken* cancel) {
  const std::string why_not =
      why_not_up_to_date(*output.finished(), wanted, model, output_path, cancel);
  if (why_not.empty()) {
    QuantizationResult result = make_result(*output.finished(), output_path, config);
    result.up_to_date = true;
    return result;
  }
  if (!config.overwrite) {
    throw Error(ErrorCode::OutputExists,
                output_path.string() + " holds a quantized model that " + why_not +
                    "; name another output, or replace it with overwrite=True (--overwrite)");
  }
  return std::nullopt;
}

}  // namespace

QuantizationResult quantize_model(const fs::path& model_path, const fs::path& output_path,
                                  const DiffusionQuantConfig& config, const RunHooks& hooks) {
  const auto begin = std::chrono::steady_clock::now();
  const double flushed_before = flush_seconds();
  const ModelDir model = open_model_dir(model_path, model_dir_options(config));
  Plan plan = make_plan(model, config);
  for (std::string& warning : warnings_of_foreign_quantization(model)) {
    plan.warnings.push_back(std::move(warning));
  }
  const std::unique_ptr<Calibration> calibration = Calibration::open(
      model_path, config, plan, memory_limit_bytes(config, available_memory_bytes()), hooks.cancel);
  const Mechanisms mechanisms =
      choose_mechanisms(config, calibration ? &calibration->file() : nullptr);
  Manifest manifest = begin_manifest(model, plan, config);
  if (calibration) {
    manifest.calibration = calibration->digest();
    manifest.warnings.insert(manifest.warnings.end(), calibration->warnings().begin(),
                             calibration->warnings().end());
  }
  const std::string fingerprint = fingerprint_of(manifest, plan);
  MemoryNeeds needs = memory_needs(plan, config);
  if (calibration) {
    calibration->add_needs(needs);
  }
  RunMemory memory(needs, config, hooks);

  OutputDir output(output_path, model_path, fingerprint, config.overwrite, hooks.cancel);
  const bool recorded = output.journal() && output.journal()->allocation;
  Progress progress(hooks.progress,
                    plan.source_bytes + (has_target(config) ? sharing_bytes(plan, recorded) : 0));
  const auto finish = [&](QuantizationResult result, const std::string& message) {
    result.quantization_time_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    result.flush_time_s = flush_seconds() - flushed_before;
    result.peak_memory_mb = peak_memory_mb();
    result.mechanisms = mechanisms;
    complete(result.mechanisms, config, result.layers);
    result.markov = markov_report(result.layers, config.thermodynamic.validation);
    if (result.markov && config.thermodynamic.validation.log_violations) {
      log_violations(*result.markov);
    }
    result.warnings.insert(result.warnings.end(), result.mechanisms.warnings.begin(),
                           result.mechanisms.warnings.end());
    log(LogLevel::Info, message);
    progress.finish(message);
    return result;
  };
  if (output.finished()) {
    progress.start("verifying " + output_path.string());
    if (auto result =
            result_that_stands(output, manifest, model, output_path, config, hooks.cancel)) {
      output.keep_finished();
      return finish(std::move(*result), "up to date: " + output_path.string());
    }
    output.replace_finished(fingerprint);
  }
  QuantizationResult result;
  try {
    const std::string started = "quantizing " + model_path.string() + " to " + output_path.string();
    log(LogLevel::Info, started);
    for (const std::string& warning : plan.warnings) {
      log(LogLevel::Warning, warning);
    }
    progress.start(started);
    Run run(model, plan, config, hooks, memory, calibration.get(), std::move(manifest), fingerprint,
            output, progress);
    result = make_result(run.execute(), output_path, config);
    result.resumed = run.resumed();
  } catch (...) {
    if (!is_worth_resuming(hooks)) {
      output.discard();
    }
    throw;
  }
  return finish(std::move(result), "wrote " + output_path.string());
}

}  // namespace arrow_quant
