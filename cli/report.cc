#include "cli/report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "cli/table.h"

namespace arrow_quant::cli {
namespace {

constexpr size_t kLabelWidth = 18;
constexpr size_t kMaxListed = 10;  // of promotions, weak layers, mismatches
constexpr int kCosineDecimals = 5;

// "  label             text\n"
std::string line(const std::string& label, const std::string& text) {
  const size_t gap = kLabelWidth - std::min(kLabelWidth, width_of(label));
  return "  " + label + std::string(gap, ' ') + printable(text) + "\n";
}

std::string count_text(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string cosine_text(double cosine) {
  return fixed(cosine, kCosineDecimals);
}

std::string bits_text(int bits) {
  return bits >= 16 ? "kept" : "int" + std::to_string(bits);
}

// "norm" of "norm", "embedder" of "embedder: time_embed": what reasons are grouped by.
std::string kind_of_reason(const std::string& reason) {
  return reason.substr(0, reason.find(':'));
}

// "norm 12, bias 9": how often each kind of reason stands, the most frequent first.
std::string grouped_reasons(const std::vector<LayerReport>& layers, bool kept) {
  std::map<std::string, int64_t> counts;
  for (const LayerReport& layer : layers) {
    if ((layer.quant_type == "none") == kept && !layer.reason.empty()) {
      ++counts[kind_of_reason(layer.reason)];
    }
  }
  std::vector<std::pair<std::string, int64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> parts;
  parts.reserve(sorted.size());
  for (const auto& [reason, count] : sorted) {
    parts.push_back(reason + " " + std::to_string(count));
  }
  return joined(parts, ", ");
}

std::string rest_line(size_t total) {
  return total > kMaxListed
             ? line("", "… and " + std::to_string(total - kMaxListed) + " more (--json lists all)")
             : "";
}

std::string promotion_lines(const std::vector<Promotion>& promotions) {
  if (promotions.empty()) {
    return "";
  }
  int64_t extra_bytes = 0;
  for (const Promotion& promotion : promotions) {
    extra_bytes += promotion.extra_bytes;
  }
  const auto count = static_cast<int64_t>(promotions.size());
  std::string text =
      line("promoted", count_text(count, "layer") + " below the accuracy asked for, " +
                           size_text(static_cast<double>(extra_bytes)) + " more");
  for (size_t i = 0; i < std::min(promotions.size(), kMaxListed); ++i) {
    const Promotion& promotion = promotions[i];
    text += line("", promotion.name + ": " + bits_text(promotion.from_bits) + " → " +
                         bits_text(promotion.to_bits) + ", cosine " +
                         cosine_text(promotion.accuracy_before) + " → " +
                         cosine_text(promotion.accuracy_after));
  }
  return text + rest_line(promotions.size());
}

// What was asked for and what came of it, and how many layers have how many bits.
std::string target_line(const Allocation& allocation) {
  std::map<std::string, int64_t> layers_at = {{"int2", 0}, {"int4", 0}, {"int8", 0}};
  int64_t num_kept = 0;
  for (const LayerAllocation& layer : allocation.layers) {
    const std::string& quant_type = layer.choices[layer.chosen].quant_type;
    quant_type == "none" ? ++num_kept : ++layers_at[quant_type];
  }
  std::vector<std::string> parts;
  for (const auto& [quant_type, count] : layers_at) {
    parts.push_back(quant_type + " " + std::to_string(count));
  }
  const bool size = allocation.target == "target_size_mb";
  return line("target", fixed(allocation.target_value, 3) + (size ? " MB" : " bits per weight") +
                            ", " + fixed(allocation.reached, 3) + " reached: " +
                            joined(parts, ", ") + ", kept " + std::to_string(num_kept));
}

std::string worst_text(double cosine, const std::string& layer) {
  return layer.empty() ? "" : ", worst " + cosine_text(cosine) + " in " + layer;
}

template <class Layer>
std::optional<double> worst_sqnr(const std::vector<Layer>& layers) {
  std::optional<double> worst;
  for (const Layer& layer : layers) {
    const std::optional<double> sqnr = layer.sqnr_db;
    if (layer.quant_type != "none" && sqnr && (!worst || *sqnr < *worst)) {
      worst = sqnr;
    }
  }
  return worst;
}

template <class Layer>
std::string quality_lines(double cosine, double worst_cosine, const std::string& worst_layer,
                          double sqnr_db, const std::vector<Layer>& layers) {
  const std::optional<double> worst = worst_sqnr(layers);
  return line("cosine", "mean " + cosine_text(cosine) + worst_text(worst_cosine, worst_layer)) +
         (worst
              ? line("SQNR", "mean " + fixed(sqnr_db, 2) + " dB, worst " + fixed(*worst, 2) + " dB")
              : "");
}

std::string bits_line(double quantized, double model) {
  return line("bits per weight",
              fixed(quantized, 3) + " in quantized layers, " + fixed(model, 3) + " in the model");
}

// "700", "0.35": with as many digits as it takes.
std::string short_number(double value) {
  std::string text = fixed(value, 4);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) {
    text.pop_back();
  }
  return text;
}

std::string metric_text(const std::optional<double>& value, int decimals) {
  return value ? fixed(*value, decimals) : "";
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> parts;
  parts.reserve(shape.size());
  for (const int64_t size : shape) {
    parts.push_back(std::to_string(size));
  }
  return "[" + joined(parts, ", ") + "]";
}

// "hadamard 128, low rank 16, 5 biases, 8-bit dynamic inputs"
std::string extras_text(const LayerExtras& extras) {
  std::vector<std::string> parts;
  for (const std::string& transform : extras.transforms) {
    parts.push_back(transform == "hadamard"   ? "hadamard " + std::to_string(extras.hadamard_block)
                    : transform == "low_rank" ? "low rank " + std::to_string(extras.rank)
                                              : "input scale");
  }
  if (extras.bias_groups > 0) {
    parts.push_back(extras.bias_groups == 1 ? "1 bias"
                                            : std::to_string(extras.bias_groups) + " biases");
  }
  if (extras.act_bits > 0) {
    parts.push_back(std::to_string(extras.act_bits) + "-bit " + extras.act_mode + " inputs");
  }
  return joined(parts, ", ");
}

// "transformer: 3 of 50 steps, from 950 to 0, cut at 700, 300; linear over 5 steps"
std::string time_groups_text(const ComponentInspection& component) {
  const TimeGroups& groups = *component.time_groups;
  std::vector<std::string> cuts;
  for (const double boundary : groups.boundaries_timestep) {
    cuts.push_back(short_number(boundary));
  }
  std::string text = component.name.empty() ? "" : component.name + ": ";
  text += std::to_string(groups.size()) + " of " + std::to_string(groups.timesteps.size()) +
          " steps, from " + short_number(groups.timesteps.front()) + " to " +
          short_number(groups.timesteps.back());
  text += cuts.empty() ? "" : ", cut at " + joined(cuts, ", ");
  return text + (groups.interpolation.empty()
                     ? ""
                     : "; " + groups.interpolation + " over " + count_text(groups.window, "step"));
}

Table layer_table(const std::vector<LayerReport>& layers) {
  std::vector<Table::Column> columns = {{"tensor"},
                                        {"shape"},
                                        {"dtype"},
                                        {"stored as"},
                                        {"group", Align::Right},
                                        {"size", Align::Right},
                                        {"cosine", Align::Right},
                                        {"SQNR dB", Align::Right}};
  const bool extras = std::any_of(layers.begin(), layers.end(), [](const LayerReport& layer) {
    return layer.extras != LayerExtras();
  });
  if (extras) {
    columns.push_back({"extras"});
  }
  columns.push_back({"reason"});
  Table table(std::move(columns));
  for (const LayerReport& layer : layers) {
    const bool kept = layer.quant_type == "none";
    std::vector<std::string> cells = {
        layer.component.empty() ? layer.name : layer.component + "/" + layer.name,
        shape_text(layer.shape),
        layer.dtype,
        kept ? "kept" : layer.quant_type,
        kept ? "" : std::to_string(layer.group_size),
        size_text(static_cast<double>(layer.stored_bytes)),
        metric_text(layer.cosine_similarity, kCosineDecimals),
        metric_text(layer.sqnr_db, 2)};
    if (extras) {
      cells.push_back(extras_text(layer.extras));
    }
    cells.push_back(layer.reason);
    table.add_row(std::move(cells));
  }
  return table;
}

// "time-aware, spatial: no calibration data": what is on and took no part.
std::string not_applied_lines(const Mechanisms& mechanisms) {
  const std::pair<const char*, const Mechanism*> all[] = {
      {"time-aware", &mechanisms.time_aware},
      {"spatial", &mechanisms.spatial},
      {"thermodynamic", &mechanisms.thermodynamic},
      {"low rank", &mechanisms.low_rank}};
  std::map<std::string, std::string> names_by_reason;
  for (const auto& [name, mechanism] : all) {
    if (mechanism->asked && !mechanism->applied) {
      std::string& names = names_by_reason[mechanism->reason];
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
  }
  std::string text;
  for (const auto& [reason, names] : names_by_reason) {
    text += line(text.empty() ? "not applied" : "", names + ": " + reason);
  }
  return text;
}

std::string title(const QuantizationResult& result) {
  const std::string path = printable(result.quantized_path.string());
  if (result.up_to_date) {
    return path + " is up to date: verified, nothing was written\n";
  }
  return "Quantized to " + path + (result.resumed ? " (an earlier run was taken up)" : "") + "\n";
}

}  // namespace

std::string report(const QuantizationResult& result) {
  double source_bytes = 0;
  for (const LayerReport& layer : result.layers) {
    source_bytes += static_cast<double>(layer.source_bytes);
  }
  std::string text = title(result);
  text += line("compression", fixed(result.compression_ratio, 2) + "x, " + size_text(source_bytes) +
                                  " → " + size_text(result.model_size_mb * 1e6));
  text += bits_line(result.bits_per_weight, result.bits_per_weight_model);
  if (result.allocation) {
    text += target_line(*result.allocation);
  }
  text += quality_lines(result.cosine_similarity, result.worst_cosine_similarity,
                        result.worst_layer, result.sqnr_db, result.layers);
  text += line("tensors", std::to_string(result.num_quantized) + " quantized, " +
                              std::to_string(result.num_kept) + " kept");
  if (const std::string kept = grouped_reasons(result.layers, true); !kept.empty()) {
    text += line("kept", kept);
  }
  if (const std::string other = grouped_reasons(result.layers, false); !other.empty()) {
    text += line("other bits", other);
  }
  text += promotion_lines(result.promotions);
  text += line("modality",
               result.modality +
                   (result.modality_evidence.empty() ? "" : " (" + result.modality_evidence + ")"));
  text += not_applied_lines(result.mechanisms);
  text += line("time", duration_text(result.quantization_time_s) + ", peak memory " +
                           fixed(result.peak_memory_mb, 0) + " MiB");
  text += line("files", result.quantized_path.string() + ", listed in its manifest.json");
  return text;
}

std::string report(const ValidationResult& result) {
  std::string text = std::string(result.passed ? "Passed" : "Not passed") + ": worst cosine " +
                     cosine_text(result.worst_cosine_similarity) + ", asked for " +
                     fixed(result.min_accuracy, 2) + "\n";
  text += quality_lines(result.cosine_similarity, result.worst_cosine_similarity,
                        result.worst_layer, result.sqnr_db, result.layers);
  text += line("compression", fixed(result.compression_ratio, 2) + "x, now " +
                                  size_text(result.model_size_mb * 1e6));
  text += line("layers", std::to_string(result.layers.size()) + " compared");
  std::vector<std::string> problems;
  for (const TensorMismatch& mismatch : result.mismatches) {
    problems.push_back(mismatch.name + ": " + mismatch.problem);
  }
  for (const LayerValidation& layer : result.layers) {
    if (!(layer.cosine_similarity >= result.min_accuracy)) {
      problems.push_back(layer.name + ": cosine " + cosine_text(layer.cosine_similarity));
    }
  }
  for (size_t i = 0; i < std::min(problems.size(), kMaxListed); ++i) {
    text += line(i == 0 ? "problems" : "", problems[i]);
  }
  return text + rest_line(problems.size());
}

std::string report(const ModelInspection& inspection) {
  int64_t num_quantized = 0;
  for (const LayerReport& layer : inspection.layers) {
    num_quantized += layer.quant_type == "none" ? 0 : 1;
  }
  const bool source = inspection.kind == "source";
  const auto num_layers = static_cast<int64_t>(inspection.layers.size());
  std::string text = layer_table(inspection.layers).text() + "\n";
  text += printable(inspection.path.string()) +
          (source ? ": a model not quantized yet; this is the plan\n" : ": a quantized model\n");
  text += line("tensors", std::to_string(num_layers) + ": " + std::to_string(num_quantized) +
                              " quantized, " + std::to_string(num_layers - num_quantized) +
                              " kept; " + count_text(inspection.num_params, "weight"));
  text += line("size", size_text(static_cast<double>(inspection.source_bytes)) + " → " +
                           size_text(static_cast<double>(inspection.stored_bytes)));
  text += bits_line(inspection.bits_per_weight, inspection.bits_per_weight_model);
  text += line("modality", inspection.modality + (inspection.modality_evidence.empty()
                                                      ? ""
                                                      : " (" + inspection.modality_evidence + ")"));
  for (const ComponentInspection& component : inspection.components) {
    if (component.time_groups) {
      text += line("time groups", time_groups_text(component));
    }
  }
  return text;
}

}  // namespace arrow_quant::cli
