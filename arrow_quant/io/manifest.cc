#include "arrow_quant/io/manifest.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <type_traits>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/allocation_json.h"
#include "arrow_quant/io/block_extras.h"
#include "arrow_quant/io/json_field.h"
#include "arrow_quant/io/quote.h"
#include "arrow_quant/io/tensor_record_json.h"
#include "arrow_quant/io/time_groups_json.h"
#include "arrow_quant/io/totals.h"

namespace arrow_quant {
namespace {

using Json = nlohmann::ordered_json;

using NumberByName = std::vector<std::pair<std::string, int64_t>>;

Json options_json(const std::map<std::string, OptionValue>& options) {
  Json json = Json::object();
  for (const auto& [name, value] : options) {
    json[name] = std::visit(
        [](const auto& v) -> Json {
          if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>) {
            return nullptr;
          } else if constexpr (std::is_same_v<std::decay_t<decltype(v)>, NumberByName>) {
            Json object = Json::object();
            for (const auto& [key, number] : v) {
              object[key] = number;
            }
            return object;
          } else {
            return v;
          }
        },
        value);
  }
  return json;
}

OptionValue option_value(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) return json.get<std::vector<std::string>>();
  if (json.is_object()) {
    NumberByName map;
    for (const auto& [key, number] : json.items()) {
      map.emplace_back(key, number.get<int64_t>());
    }
    return map;
  }
  return std::monostate{};
}

Json file_json(const FileRecord& file) {
  return {{"path", file.path}, {"size_bytes", file.size_bytes}, {"xxh3_128", file.xxh3_128}};
}

// A path below the model, such as "transformer/config.json". Throws: FieldError for any other.
std::string path_field(const Json& json, const char* key) {
  const std::string text = field<std::string>(json, key);
  const std::filesystem::path path = std::filesystem::path(text).lexically_normal();
  if (text.empty() || text.find('\0') != std::string::npos || path.is_absolute() ||
      *path.begin() == ".." || *path.begin() == ".") {
    throw FieldError("\"" + std::string(key) + "\" is " + quote(text) +
                     ", expected a path below the model's directory");
  }
  return text;
}

FileRecord file_record(const Json& json) {
  return {path_field(json, "path"), field<uint64_t>(json, "size_bytes"),
          field<std::string>(json, "xxh3_128")};
}

Json promotion_json(const Promotion& p) {
  return {{"name", p.name},
          {"from_bits", p.from_bits},
          {"to_bits", p.to_bits},
          {"accuracy_before", p.accuracy_before},
          {"accuracy_after", p.accuracy_after},
          {"extra_bytes", p.extra_bytes}};
}

Promotion promotion_record(const Json& json) {
  return {field<std::string>(json, "name"),      field<int>(json, "from_bits"),
          field<int>(json, "to_bits"),           field<double>(json, "accuracy_before"),
          field<double>(json, "accuracy_after"), field<int64_t>(json, "extra_bytes")};
}

Json component_json(const ComponentRecord& component, bool with_source_digest) {
  Json parts = Json::array();
  Json tensors = Json::array();
  Json promotions = Json::array();
  for (const PartRecord& part : component.parts) {
    Json json = file_json(part.file);
    if (with_source_digest) {
      json["source_digest"] = part.source_digest;
    }
    parts.push_back(std::move(json));
    for (const TensorRecord& tensor : part.tensors) {
      tensors.push_back(tensor_json(tensor));
    }
    for (const Promotion& promotion : part.promotions) {
      promotions.push_back(promotion_json(promotion));
      promotions.back()["part"] = parts.size() - 1;
    }
  }
  return {{"name", component.name},
          {"subdir", component.subdir},
          {"class_name", component.class_name},
          {"time_groups",
           component.time_groups ? time_groups_json(*component.time_groups) : Json(nullptr)},
          {"parts", std::move(parts)},
          {"tensors", std::move(tensors)},
          {"promotions", std::move(promotions)}};
}

ComponentRecord component_record(const Json& json, const std::string& source) {
  ComponentRecord component;
  component.name = field<std::string>(json, "name");
  component.subdir = field<std::string>(json, "subdir");
  if (!component.subdir.empty()) {
    component.subdir = path_field(json, "subdir");
  }
  component.class_name = field<std::string>(json, "class_name");
  if (json.contains("time_groups") && !json.at("time_groups").is_null()) {
    component.time_groups = parse_time_groups(json.at("time_groups"), source);
  }
  for (const Json& part : json.at("parts")) {
    PartRecord record;
    record.file = file_record(part);
    record.source_digest = part.value("source_digest", "");
    component.parts.push_back(std::move(record));
  }
  for (const Json& tensor : json.at("tensors")) {
    TensorRecord record = tensor_record(tensor, component.name);
    component.parts.at(static_cast<size_t>(record.part)).tensors.push_back(std::move(record));
  }
  for (const Json& promotion : json.at("promotions")) {
    component.parts.at(field<size_t>(promotion, "part"))
        .promotions.push_back(promotion_record(promotion));
  }
  return component;
}

Json components_json(const std::vector<ComponentRecord>& components, bool with_source_digest) {
  Json json = Json::array();
  for (const ComponentRecord& component : components) {
    json.push_back(component_json(component, with_source_digest));
  }
  return json;
}

Json files_json(const std::vector<FileRecord>& files) {
  Json json = Json::array();
  for (const FileRecord& file : files) {
    json.push_back(file_json(file));
  }
  return json;
}

// Derived figures, for readers that do not want to add up.
Json totals_json(const Manifest& manifest) {
  const Totals t = add_up(layers_of(manifest.components), part_bytes_of(manifest.components));
  return {{"num_params", t.num_params},
          {"num_quantized", t.num_quantized},
          {"num_kept", t.num_kept},
          {"source_bytes", t.source_bytes},
          {"stored_bytes", t.stored_bytes},
          {"part_bytes", t.part_bytes},
          {"bits_per_weight", t.bits_per_weight},
          {"bits_per_weight_model", t.bits_per_weight_model},
          {"cosine_similarity", t.cosine_similarity},
          {"worst_cosine_similarity", t.worst_cosine_similarity},
          {"worst_layer", t.worst_layer},
          {"sqnr_db", t.sqnr_db}};
}

template <class Parse>
auto parse_or_explain(const std::string& source, Parse parse) {
  try {
    return parse();
  } catch (const nlohmann::json::exception& e) {
    const std::string_view what = e.what();
    const bool of_parser = what.starts_with("[json.exception");  // "[…] problem"
    throw Error(ErrorCode::Metadata,
                source + ": " +
                    (of_parser ? printable(what.substr(what.find("] ") + 2)) : std::string(what)) +
                    "; the file is damaged or was not written by this tool: "
                    "quantize the model again");
  } catch (const std::out_of_range&) {
    throw Error(ErrorCode::Metadata,
                source + ": a tensor names a part that does not exist; quantize the model again");
  }
}

}  // namespace

std::string to_json(const std::map<std::string, OptionValue>& options) {
  return options_json(options).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> required_features(const std::vector<ComponentRecord>& components) {
  std::set<std::string> features;
  for (const LayerReport& layer : layers_of(components)) {
    for (std::string& feature : features_of(layer.extras)) {
      features.insert(std::move(feature));
    }
  }
  return {features.begin(), features.end()};
}

std::string to_json(const Manifest& manifest) {
  Json skipped = Json::array();
  for (const SkippedRecord& file : manifest.skipped_files) {
    skipped.push_back({{"path", file.path}, {"reason", file.reason}});
  }
  const Json json = {
      {"format", "arrow_quant"},
      {"format_version", manifest.format_version},
      {"required_features", required_features(manifest.components)},
      {"tool_version", manifest.tool_version},
      {"modality", manifest.modality},
      {"modality_evidence", manifest.modality_evidence},
      {"min_accuracy", manifest.min_accuracy},
      {"options", options_json(manifest.options)},
      {"totals", totals_json(manifest)},
      {"source_files", files_json(manifest.source_files)},
      {"copied_files", files_json(manifest.copied_files)},
      {"skipped_files", std::move(skipped)},
      {"components", components_json(manifest.components, false)},
      {"allocation", manifest.allocation ? allocation_json(*manifest.allocation) : Json(nullptr)},
      {"calibration", manifest.calibration.empty() ? Json(nullptr) : Json(manifest.calibration)},
      {"warnings", manifest.warnings}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::string& source) {
  return parse_or_explain(source, [&] {
    const Json json = Json::parse(text);
    if (!json.is_object()) {
      throw FieldError("a JSON object is expected, this is " + shown(json));
    }
    Manifest m;
    if (json.value("format", Json()) != "arrow_quant") {
      throw Error(ErrorCode::Metadata,
                  source + ": \"format\" is not \"arrow_quant\": this is another tool's manifest");
    }
    m.format_version = field<int>(json, "format_version");
    if (m.format_version > kFormatVersion) {
      throw Error(ErrorCode::Unsupported,
                  source + ": format version " + std::to_string(m.format_version) +
                      ", this version reads up to " + std::to_string(kFormatVersion) +
                      ": update arrow-quant");
    }
    for (const auto& feature : field<std::vector<std::string>>(json, "required_features")) {
      if (!is_known_feature(feature)) {
        throw Error(ErrorCode::Unsupported, source + ": requires the feature '" + feature +
                                                "', which this version does not know: update "
                                                "arrow-quant");
      }
    }
    m.tool_version = field<std::string>(json, "tool_version");
    m.modality = field<std::string>(json, "modality");
    m.modality_evidence = field<std::string>(json, "modality_evidence");
    m.min_accuracy = field<double>(json, "min_accuracy");
    for (const auto& [name, value] : json.at("options").items()) {
      m.options[name] = option_value(value);
    }
    for (const Json& file : json.at("source_files")) m.source_files.push_back(file_record(file));
    for (const Json& file : json.at("copied_files")) m.copied_files.push_back(file_record(file));
    for (const Json& file : json.at("skipped_files")) {
      m.skipped_files.push_back(
          {field<std::string>(file, "path"), field<std::string>(file, "reason")});
    }
    for (const Json& component : json.at("components")) {
      m.components.push_back(component_record(component, source));
    }
    if (const Json hash = json.value("calibration", Json()); !hash.is_null()) {
      m.calibration = hash.get<std::string>();
    }
    if (const Json& allocation = json.at("allocation"); !allocation.is_null()) {
      m.allocation = parse_allocation(allocation);
    }
    m.warnings = field<std::vector<std::string>>(json, "warnings");
    return m;
  });
}

std::string to_json(const Journal& journal) {
  Json json = {{"fingerprint", journal.fingerprint},
               {"components", components_json(journal.components, true)}};
  if (journal.allocation) {
    json["allocation"] = allocation_json(journal.allocation->allocation);
    json["allocation_source_digest"] = journal.allocation->source_digest;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Journal parse_journal(const std::string& text, const std::string& source) {
  return parse_or_explain(source, [&] {
    const Json json = Json::parse(text);
    Journal journal;
    journal.fingerprint = field<std::string>(json, "fingerprint");
    for (const Json& component : json.at("components")) {
      journal.components.push_back(component_record(component, source));
    }
    if (json.contains("allocation")) {
      journal.allocation = {parse_allocation(json.at("allocation")),
                            field<std::string>(json, "allocation_source_digest")};
    }
    return journal;
  });
}

}  // namespace arrow_quant
