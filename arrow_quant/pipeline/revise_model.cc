#include "arrow_quant/pipeline/revise_model.h"

#include <algorithm>
#include <set>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_checks.h"
#include "arrow_quant/io/file_copy.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/part_reader.h"
#include "arrow_quant/io/part_writer.h"
#include "arrow_quant/pipeline/output_dir.h"
#include "arrow_quant/pipeline/quantized_model.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

constexpr const char* kFingerprint = "revision";

// The record of the component that is revised.
ComponentRecord& component_of(Manifest& manifest, const Revision& revision, const fs::path& model) {
  std::string names;
  for (ComponentRecord& component : manifest.components) {
    if (component.name == revision.component ||
        (revision.component.empty() && manifest.components.size() == 1)) {
      return component;
    }
    names += (names.empty() ? "'" : ", '") + component.name + "'";
  }
  throw Error(ErrorCode::Configuration, model.string() + " has no component '" +
                                            revision.component + "'; it has " +
                                            (names.empty() ? "none" : names));
}

// Holds a revision against the tensors that it is for, before anything is written.
class RevisionCheck {
 public:
  RevisionCheck(const fs::path& model, const ComponentRecord& component, const Revision& revision)
      : model_(model), revision_(revision) {
    for (const PartRecord& part : component.parts) {
      for (const TensorRecord& tensor : part.tensors) {
        tensors_[tensor.report.name] = &tensor.report;
      }
    }
    const auto& groups = revision.time_groups ? *revision.time_groups : component.time_groups;
    num_groups_ = groups ? groups->size() : 1;
    if (groups) {
      if (const std::string problem = time_groups_problem(*groups); !problem.empty()) {
        throw Error(ErrorCode::Configuration, "the time groups' " + problem);
      }
    }
  }

  void run() const {
    for (const auto& [name, table] : revision_.bias_corrections) check_bias(name, table);
    for (const auto& [name, table] : revision_.activations) check_activation(name, table);
    check_what_stays();
  }

 private:
  [[noreturn]] void fail(ErrorCode code, const std::string& name,
                         const std::string& problem) const {
    throw Error(code, model_.string() + ": tensor '" + name + "': " + problem);
  }

  const LayerReport& quantized_tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      fail(ErrorCode::Configuration, name,
           "the component '" + revision_.component +
               "' has none of this name; names are those "
               "that load_quantized lists, without the component");
    }
    if (found->second->quant_type == "none") {
      fail(ErrorCode::Configuration, name, "it was kept, and has no corrections");
    }
    return *found->second;
  }

  void check_groups(const std::string& name, const std::string& what, size_t groups) const {
    if (groups > 1 && groups != num_groups_) {
      fail(ErrorCode::ShapeMismatch, name,
           what + " for " + std::to_string(groups) + " groups of timesteps, expected " +
               (num_groups_ > 1 ? "1 or " : "") + std::to_string(num_groups_) +
               ", as the time groups have");
    }
  }

  void check_bias(const std::string& name, const BiasTable& table) const {
    const int64_t rows = matrix_view(quantized_tensor(name).shape)->rows;
    if (table.groups < 0 || !std::cmp_equal(table.values.size(), table.groups * rows)) {
      fail(ErrorCode::ShapeMismatch, name,
           "bias corrections of " + std::to_string(table.values.size()) + " values, expected " +
               std::to_string(table.groups) + " groups of " + std::to_string(rows));
    }
    check_groups(name, "bias corrections", static_cast<size_t>(table.groups));
    BlockExtras extras;
    extras.bias_groups = table.groups;
    extras.bias_corrections = table.values;
    check(name, extras, rows);
  }

  void check_activation(const std::string& name, const ActivationTable& table) const {
    quantized_tensor(name);
    check_groups(name, "activation parameters", table.ranges.size());
    BlockExtras extras;
    extras.act_bits = table.bits;
    extras.act_mode = table.mode;
    extras.act = table.ranges;
    check(name, extras, 1);
  }

  void check(const std::string& name, const BlockExtras& extras, int64_t rows) const {
    std::string problem = extras_problem(extras, true, 0, rows, 1);
    if (problem.empty()) problem = extras_array_problem(extras, 0, rows, 1);
    if (!problem.empty()) fail(ErrorCode::Configuration, name, problem);
  }

  // Values of tensors that are not named have to fit the groups that come to stand there.
  void check_what_stays() const {
    if (!revision_.time_groups) return;
    for (const auto& [name, report] : tensors_) {
      if (!revision_.bias_corrections.contains(name)) {
        check_groups(name, "the bias corrections that stay are",
                     static_cast<size_t>(report->extras.bias_groups));
      }
      if (!revision_.activations.contains(name)) {
        check_groups(name, "the activation parameters that stay are",
                     static_cast<size_t>(report->extras.act_groups));
      }
    }
  }

  const fs::path& model_;
  const Revision& revision_;
  std::map<std::string, const LayerReport*> tensors_;
  size_t num_groups_ = 1;
};

void revise_block(QuantizedBlock& block, const Revision& revision) {
  BlockExtras& extras = block.header.extras;
  const auto bias = revision.bias_corrections.find(block.header.layer_name);
  if (bias != revision.bias_corrections.end()) {
    const auto& [groups, values] = bias->second;
    const auto rows = static_cast<size_t>(matrix_view(block.header.shape)->rows);
    extras.bias_groups = groups;
    extras.bias_corrections.clear();
    for (size_t group = 0; group < static_cast<size_t>(groups); ++group) {
      const uint16_t* const first =
          values.data() + group * rows + static_cast<size_t>(block.header.row_start);
      extras.bias_corrections.insert(extras.bias_corrections.end(), first,
                                     first + block.header.row_count);
    }
  }
  const auto activation = revision.activations.find(block.header.layer_name);
  if (activation != revision.activations.end() && block.header.block_index == 0) {
    extras.act_bits = activation->second.bits;
    extras.act_mode = activation->second.mode;
    extras.act = activation->second.ranges;
  }
}

std::map<std::string, std::string> part_metadata(const PartReader& reader,
                                                 const std::optional<TimeGroups>& groups) {
  std::map<std::string, std::string> metadata = reader.metadata();
  metadata.erase("ARROW:schema");  // of a tool that rewrote the part; what follows is ours
  metadata.erase(std::string(kTimeGroupsKey));
  if (groups) {
    metadata[std::string(kTimeGroupsKey)] = to_json(*groups);
  }
  return metadata;
}

// Writes the part anew and brings its record up to date.
void revise_part(PartRecord& part, const ComponentRecord& component, const Revision& revision,
                 const fs::path& from, const fs::path& to, const CancelToken* cancel) {
  const PartReader reader = PartReader::open(from / part.file.path);
  fs::create_directories((to / part.file.path).parent_path());
  PartWriter writer(to / part.file.path, part_metadata(reader, component.time_groups), cancel);
  for (size_t i = 0; i < reader.blocks().size(); ++i) {
    check_cancelled(cancel);
    QuantizedBlock block = reader.read(i);
    revise_block(block, revision);
    writer.append(std::move(block));
  }
  const PartInfo info = writer.finish();
  part.file.size_bytes = info.size_bytes;
  part.file.xxh3_128 = info.xxh3_128;
  std::map<std::string, TensorRecord*> tensors;
  for (TensorRecord& tensor : part.tensors) {
    tensor.report.stored_bytes = 0;
    tensor.blocks.assign(tensor.blocks.size(), {});
    tensors[tensor.report.name] = &tensor;
  }
  for (const BlockLocation& block : info.blocks) {
    TensorRecord& tensor = *tensors.at(block.layer_name);
    tensor.report.stored_bytes += block.stored_bytes;
    tensor.blocks.at(static_cast<size_t>(block.block_index)) = {block.row_group, block.row};
    if (block.block_index == 0) {
      tensor.report.extras = block.extras;
    }
  }
}

// Everything but the manifest and the parts that are made anew.
void copy_the_rest(const fs::path& from, const fs::path& to, const ComponentRecord& component,
                   const CancelToken* cancel) {
  std::set<fs::path> made = {kManifestName, kJournalName};
  for (const PartRecord& part : component.parts) {
    made.insert(fs::path(part.file.path).lexically_normal());
  }
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(from)) {
    const fs::path relative = entry.path().lexically_relative(from);
    if (entry.is_directory()) {
      fs::create_directories(to / relative);
    } else if (!made.contains(relative)) {
      fs::create_directories((to / relative).parent_path());
      copy_file_durably(entry.path(), to / relative, {}, cancel);
    }
  }
}

void write_revised(Manifest manifest, const Revision& revision, const fs::path& model,
                   OutputDir& output, const CancelToken* cancel) {
  try {
    output.start_over(kFingerprint);
    ComponentRecord& component = component_of(manifest, revision, model);
    if (revision.time_groups) {
      component.time_groups = *revision.time_groups;
    }
    copy_the_rest(model, output.path(), component, cancel);
    for (PartRecord& part : component.parts) {
      revise_part(part, component, revision, model, output.path(), cancel);
    }
    output.publish(to_json(manifest));
  } catch (...) {
    output.discard();
    throw;
  }
}

}  // namespace

void revise_model(const fs::path& model, const Revision& revision, const fs::path& out,
                  const CancelToken* cancel) {
  Manifest manifest = QuantizedModel::open(model).manifest();
  RevisionCheck(model, component_of(manifest, revision, model), revision).run();
  std::error_code ignored;
  if (fs::equivalent(model, out, ignored)) {
    OutputDir output = OutputDir::in_place_of(model, kFingerprint, cancel);
    write_revised(std::move(manifest), revision, model, output, cancel);
    return;
  }
  OutputDir output(out, model, kFingerprint, /*overwrite=*/false, cancel);
  if (output.finished()) {
    throw Error(ErrorCode::OutputExists,
                out.string() + " holds a finished model; name another output, or the model itself");
  }
  write_revised(std::move(manifest), revision, model, output, cancel);
}

}  // namespace arrow_quant
