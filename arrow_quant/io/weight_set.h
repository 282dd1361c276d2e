// WeightSet: the safetensors files in one directory that together are one component's weights,
// chosen among variants, other files and leftovers by their names.
//
//   model.safetensors   model.fp16.safetensors   model-00001-of-00002.safetensors
//   model.fp16-00001-of-00002.safetensors        model-00001-of-00002.fp16.safetensors
//   model.safetensors.index.json                 model.safetensors.index.fp16.json
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/io/safetensors.h"

namespace arrow_quant {

// Where a name stands in the scheme above.
struct WeightFileName {
  std::string base;     // "model"
  std::string variant;  // "fp16"; "" if plain
  int shard = 0;        // of num_shards, as the name says; both 0 for a file that is no shard
  int num_shards = 0;
  bool is_index = false;
};

// Nothing for a name that is neither a .safetensors file nor the index of some.
std::optional<WeightFileName> parse_weight_file_name(const std::string& name);

struct WeightSet {
  std::vector<std::string> files;                 // names within the directory, sorted
  std::string index;                              // "" if there is none
  std::map<std::string, std::string> weight_map;  // of the index
};

// Nothing where the directory holds no such file.
// Throws: Error(Io); Error(InvalidModel) where shards are missing or several sets are possible;
// Error(Configuration) for a variant that is not there.
std::optional<WeightSet> find_weight_set(const std::filesystem::path& directory,
                                         const std::optional<std::string>& variant);

// Opens the files and checks that no tensor stands in two of them, and that the index tells the
// truth. Throws: Error(Io), Error(InvalidModel).
std::vector<SafetensorsFile> open_weight_set(const std::filesystem::path& directory,
                                             const WeightSet& set);

}  // namespace arrow_quant
