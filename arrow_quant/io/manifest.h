// Manifest: the record of a finished run (manifest.json), and the parts of it that a run under way
// writes down as it goes (the journal). Pure data and its JSON; FORMAT.md describes the keys.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "arrow_quant/io/allocation.h"
#include "arrow_quant/io/layer_report.h"
#include "arrow_quant/io/time_groups.h"

namespace arrow_quant {

inline constexpr int kFormatVersion = 1;
inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kJournalName = ".arrow_quant-journal.json";

// A file of the source, or one carried over. Paths are relative to the model.
struct FileRecord {
  std::string path;
  uint64_t size_bytes = 0;
  std::string xxh3_128;
  bool operator==(const FileRecord&) const = default;
};

// Where one block of a tensor stands.
struct BlockPlace {
  int32_t row_group = 0;
  int64_t row = 0;  // within the row group
};

struct TensorRecord {
  LayerReport report;
  int32_t part = 0;  // index into the component's parts
  std::vector<BlockPlace> blocks;
};

struct PartRecord {
  FileRecord file;  // relative to the output
  std::vector<TensorRecord> tensors;
  std::vector<Promotion> promotions;
  // Of the source up to the end of its last tensor: whether a journal still fits. Not in the
  // manifest.
  std::string source_digest;
};

struct ComponentRecord {
  std::string name;
  std::string subdir;
  std::string class_name;
  std::vector<PartRecord> parts;
  std::optional<TimeGroups> time_groups;  // where values change with the timestep
};

struct SkippedRecord {
  std::string path;
  std::string reason;
};

// An option as the manifest records it: null, a scalar, a list of strings, or names with a number
// each, in their order.
using OptionValue =
    std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>,
                 std::vector<std::pair<std::string, int64_t>>>;

std::string to_json(const std::map<std::string, OptionValue>& options);

struct Manifest {
  int format_version = kFormatVersion;
  std::string tool_version;
  std::map<std::string, OptionValue> options;  // those that can change the output's bytes
  std::string modality;
  std::string modality_evidence;
  double min_accuracy = 0;
  std::vector<FileRecord> source_files;
  std::vector<FileRecord> copied_files;
  std::vector<SkippedRecord> skipped_files;
  std::vector<ComponentRecord> components;
  std::optional<Allocation> allocation;  // where a target was given
  std::string calibration;               // XXH3 128-bit hash of the calibration file; "": none
  std::vector<std::string> warnings;
};

// What a reader must know of to use the tensors of these components: names, sorted.
std::vector<std::string> required_features(const std::vector<ComponentRecord>& components);

// The same manifest gives the same text. Totals and required features follow from the components.
std::string to_json(const Manifest& manifest);
// `source` names the text in messages. Throws: Error(Metadata) for what is missing or of another
// type; Error(Unsupported) for a newer format version or an unknown required feature.
Manifest parse_manifest(const std::string& text, const std::string& source);

// An allocation, and the digest of the source bytes that it was measured on.
struct RecordedAllocation {
  Allocation allocation;
  std::string source_digest;
};

// What a run under way has finished, and of what run it is.
struct Journal {
  std::string fingerprint;                  // of options, plan and source sizes
  std::vector<ComponentRecord> components;  // with the parts finished so far, in order
  std::optional<RecordedAllocation> allocation;
};

std::string to_json(const Journal& journal);
// Throws: Error(Metadata).
Journal parse_journal(const std::string& text, const std::string& source);

}  // namespace arrow_quant
