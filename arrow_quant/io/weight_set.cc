#include "arrow_quant/io/weight_set.h"

#include <algorithm>
#include <regex>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/model_json.h"
#include "arrow_quant/io/quote.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;

// Names that diffusers and transformers give to weights; preferred, in this order.
constexpr std::string_view kUsualBases[] = {"diffusion_pytorch_model", "model"};
constexpr size_t kMaxListed = 8;

// All files of one base and variant.
struct Candidate {
  std::string whole;
  std::map<std::pair<int, int>, std::string> shards;  // {num_shards, shard} → name
  std::string index;

  std::string example() const {
    return !index.empty() ? index : !whole.empty() ? whole : shards.begin()->second;
  }
};
using Variants = std::map<std::string, Candidate>;
using Bases = std::map<std::string, Variants>;

[[noreturn]] void fail(const fs::path& path, const std::string& problem) {
  throw Error(ErrorCode::InvalidModel, path.string() + ": " + problem);
}

template <class Range>
std::string list(const Range& names) {
  std::string text;
  size_t count = 0;
  for (const std::string& name : names) {
    if (count++ == kMaxListed) {
      return text + " … (" + std::to_string(names.size()) + " in all)";
    }
    text += (text.empty() ? "" : ", ") + printable(name);
  }
  return text;
}

// Splits "model.fp16" into "model" and "fp16"; "sd_1.5" stays whole, since variants are words.
void split_variant(std::string stem, WeightFileName& name) {
  const size_t dot = stem.rfind('.');
  static const std::regex kWord("[A-Za-z][A-Za-z0-9_]*");
  if (dot != std::string::npos && dot != 0 &&
      std::regex_match(stem.begin() + static_cast<ptrdiff_t>(dot) + 1, stem.end(), kWord)) {
    name.variant = stem.substr(dot + 1);
    stem.resize(dot);
  }
  name.base = std::move(stem);
}

Bases list_candidates(const fs::path& directory) {
  Bases bases;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string file = it->path().filename().string();
    const auto name = parse_weight_file_name(file);
    std::error_code ignored;  // a link to nothing is a file that is not there
    if (!name || !it->is_regular_file(ignored)) {
      continue;
    }
    Candidate& candidate = bases[name->base][name->variant];
    std::string& place = name->is_index          ? candidate.index
                         : name->num_shards != 0 ? candidate.shards[{name->num_shards, name->shard}]
                                                 : candidate.whole;
    if (!place.empty()) {
      fail(directory, "both " + std::min(place, file) + " and " + std::max(place, file) +
                          " hold the same part of the weights; remove one of them");
    }
    place = file;
  }
  if (error) {
    throw_io_error("list", directory, error.value());
  }
  return bases;
}

// Removes the candidates whose files an index of another one names.
void drop_claimed(const fs::path& directory, Bases& bases) {
  std::set<std::string> claimed;
  for (const auto& [base, variants] : bases) {
    for (const auto& [variant, candidate] : variants) {
      if (!candidate.index.empty()) {
        for (const auto& [tensor, file] : read_weight_map(directory / candidate.index)) {
          claimed.insert(file);
        }
      }
    }
  }
  for (auto& [base, variants] : bases) {
    std::erase_if(variants, [&](const auto& entry) {
      const Candidate& candidate = entry.second;
      return candidate.index.empty() && claimed.count(candidate.example()) != 0;
    });
  }
  std::erase_if(bases, [](const auto& entry) { return entry.second.empty(); });
}

const Variants& choose_base(const fs::path& directory, Bases& bases) {
  for (const std::string_view usual : kUsualBases) {
    if (const auto found = bases.find(std::string(usual)); found != bases.end()) {
      return found->second;
    }
  }
  if (bases.size() > 1) {
    drop_claimed(directory, bases);
  }
  if (bases.size() > 1) {
    std::vector<std::string> examples;
    for (const auto& [base, variants] : bases) {
      examples.push_back(variants.begin()->second.example());
    }
    fail(directory, "several files could be the model: " + list(examples) +
                        "; pass the path of one of them, or keep one in the directory");
  }
  return bases.begin()->second;
}

const Candidate& choose_variant(const fs::path& directory, const Variants& variants,
                                const std::optional<std::string>& variant) {
  if (const auto found = variants.find(variant.value_or("")); found != variants.end()) {
    return found->second;
  }
  if (!variant && variants.size() == 1) {
    return variants.begin()->second;
  }
  std::vector<std::string> names;
  for (const auto& [name, candidate] : variants) {
    names.push_back(name.empty() ? "'' (the plain files)" : name);
  }
  throw Error(ErrorCode::Configuration,
              directory.string() + ": " +
                  (variant ? "there is no variant " + quote(*variant) + " of the weights"
                           : "there are only variants of the weights, and no plain files") +
                  "; set variant to one of: " + list(names));
}

void check_complete(const fs::path& directory, const Candidate& candidate) {
  const auto& [first, example] = *candidate.shards.begin();
  const int num_shards = first.first;
  if (candidate.shards.rbegin()->first.first != num_shards) {
    fail(directory, "shards of different sets stand side by side, such as " + example + " and " +
                        candidate.shards.rbegin()->second + "; remove those of one set");
  }
  for (const auto& [place, file] : candidate.shards) {
    if (place.second < 1 || place.second > num_shards) {
      fail(directory / file, "shards are counted from 1 to " + std::to_string(num_shards) +
                                 "; rename or remove the file");
    }
  }
  const size_t digits = example.rfind("-of-");
  const size_t width = digits - example.rfind('-', digits - 1) - 1;
  std::vector<std::string> missing;
  const size_t num_missing = static_cast<size_t>(num_shards) - candidate.shards.size();
  for (int shard = 1; shard <= num_shards && missing.size() < std::min(num_missing, kMaxListed);
       ++shard) {
    if (candidate.shards.count({num_shards, shard}) == 0) {
      std::string number = std::to_string(shard);
      number.insert(0, width > number.size() ? width - number.size() : 0, '0');
      missing.push_back(std::string(example).replace(digits - width, width, number));
    }
  }
  if (num_missing != 0) {
    fail(directory, std::to_string(num_missing) + " of " + std::to_string(num_shards) +
                        " shards are missing: " + list(missing) +
                        (num_missing > missing.size() ? " …" : "") + "; fetch the missing files");
  }
}

// The shards of the names that the index uses are all named, and so is each that stands beside it.
void check_index_names_all(const fs::path& index, const Candidate& candidate,
                           const std::set<std::string>& files) {
  std::vector<std::string> beside;
  for (const auto& [place, file] : candidate.shards) {
    if (files.count(file) == 0) {
      beside.push_back(file);
    }
  }
  if (!beside.empty()) {
    fail(index, "does not name " + list(beside) + ", which " +
                    (beside.size() == 1 ? "stands" : "stand") +
                    " beside it; fetch the index again, or remove what is not part of the model");
  }
  using Set = std::tuple<std::string, std::string, int>;
  std::map<Set, std::set<int>> named;
  for (const std::string& file : files) {
    if (const auto name = parse_weight_file_name(file); name && name->num_shards != 0) {
      named[{name->base, name->variant, name->num_shards}].insert(name->shard);
    }
  }
  for (const auto& [set, shards] : named) {
    const auto& [base, variant, num_shards] = set;
    if (shards.size() != static_cast<size_t>(num_shards)) {
      fail(index, "names " + std::to_string(shards.size()) + " of the " +
                      std::to_string(num_shards) + " shards of " + printable(base) +
                      (variant.empty() ? "" : "." + variant) +
                      "; fetch the index and the shards again");
    }
  }
}

WeightSet indexed_set(const fs::path& directory, const Candidate& candidate) {
  WeightSet set;
  set.index = candidate.index;
  const fs::path index = directory / candidate.index;
  set.weight_map = read_weight_map(index);
  std::set<std::string> files;
  for (const auto& [tensor, file] : set.weight_map) {
    files.insert(file);
  }
  set.files.assign(files.begin(), files.end());
  check_index_names_all(index, candidate, files);
  std::erase_if(files, [&](const std::string& file) {
    std::error_code ignored;
    return fs::is_regular_file(directory / file, ignored);
  });
  if (!files.empty()) {
    fail(index, "names files that are not there: " + list(files) + "; fetch them");
  }
  return set;
}

WeightSet complete_set(const fs::path& directory, const Candidate& candidate) {
  WeightSet set;
  if (!candidate.index.empty()) {
    set = indexed_set(directory, candidate);
  } else if (candidate.shards.empty()) {
    set.files = {candidate.whole};
  } else {
    check_complete(directory, candidate);
    for (const auto& [place, file] : candidate.shards) {
      set.files.push_back(file);
    }
    std::sort(set.files.begin(), set.files.end());
  }
  if (!candidate.whole.empty() &&
      std::count(set.files.begin(), set.files.end(), candidate.whole) == 0) {
    fail(directory, "both " + candidate.whole + " and shards of it stand here (" +
                        set.files.front() + " …); remove one or the other");
  }
  return set;
}

void check_index(const fs::path& index, const WeightSet& set,
                 const std::unordered_map<std::string_view, size_t>& file_of) {
  for (const auto& [tensor, file] : set.weight_map) {
    const auto found = file_of.find(tensor);
    if (found == file_of.end() || set.files[found->second] != file) {
      fail(index, "tensor " + quote(tensor) + " is said to be in " + file + ", but is " +
                      (found == file_of.end() ? "in no file" : "in " + set.files[found->second]) +
                      "; fetch the files again");
    }
  }
  for (const auto& [tensor, file] : file_of) {
    if (set.weight_map.count(std::string(tensor)) == 0) {
      fail(index, "tensor " + quote(tensor) + " of " + set.files[file] +
                      " is not in the weight_map; fetch the files again, or remove the index");
    }
  }
}

}  // namespace

std::optional<WeightFileName> parse_weight_file_name(const std::string& file) {
  static const std::regex kIndex(R"((.+)\.safetensors\.index(?:\.([A-Za-z][A-Za-z0-9_]*))?\.json)");
  static const std::regex kShard(R"((.+)-(\d{1,6})-of-(\d{1,6})(?:\.([A-Za-z][A-Za-z0-9_]*))?)");
  constexpr std::string_view kExtension = ".safetensors";
  WeightFileName name;
  std::smatch match;
  if (std::regex_match(file, match, kIndex)) {
    split_variant(match[1], name);
    name.variant = match[2].matched ? match[2].str() : name.variant;
    name.is_index = true;
    return name;
  }
  if (!file.ends_with(kExtension) || file.size() == kExtension.size()) {
    return std::nullopt;
  }
  const std::string stem = file.substr(0, file.size() - kExtension.size());
  if (!std::regex_match(stem, match, kShard) || std::stoi(match[3]) == 0) {
    split_variant(stem, name);
    return name;
  }
  split_variant(match[1], name);
  name.variant = match[4].matched ? match[4].str() : name.variant;
  name.shard = std::stoi(match[2]);
  name.num_shards = std::stoi(match[3]);
  return name;
}

std::optional<WeightSet> find_weight_set(const fs::path& directory,
                                         const std::optional<std::string>& variant) {
  Bases bases = list_candidates(directory);
  if (bases.empty()) {
    return std::nullopt;
  }
  const Variants& variants = choose_base(directory, bases);
  return complete_set(directory, choose_variant(directory, variants, variant));
}

std::vector<SafetensorsFile> open_weight_set(const fs::path& directory, const WeightSet& set) {
  std::vector<SafetensorsFile> files;
  for (const std::string& name : set.files) {
    files.push_back(SafetensorsFile::open(directory / name));
  }
  std::unordered_map<std::string_view, size_t> file_of;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const TensorInfo& info : files[i].tensors()) {
      const auto [place, is_new] = file_of.emplace(info.name, i);
      if (!is_new) {
        fail(directory, "tensor " + quote(info.name) + " stands in both " +
                            set.files[place->second] + " and " + set.files[i] +
                            "; remove the file that does not belong to the model");
      }
    }
  }
  if (!set.index.empty()) {
    check_index(directory / set.index, set, file_of);
  }
  return files;
}

}  // namespace arrow_quant
