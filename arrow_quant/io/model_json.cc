#include "arrow_quant/io/model_json.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/input_file.h"
#include "arrow_quant/io/quote.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxJsonBytes = 100'000'000;
// Parsing needs no stack for nesting, but writing such a value again does.
constexpr int kMaxDepth = 128;
constexpr const char* kRemedy = "; correct it or fetch it again";

[[noreturn]] void fail(const fs::path& path, const std::string& problem) {
  throw Error(ErrorCode::InvalidModel, path.string() + ": " + problem);
}

std::string read_text(const fs::path& path) {
  const InputFile file = InputFile::open(path);
  if (file.size_bytes() > kMaxJsonBytes) {
    fail(path, std::to_string(file.size_bytes()) + " bytes are too many for such a file; at most " +
                   std::to_string(kMaxJsonBytes) + " are read");
  }
  std::string text(static_cast<size_t>(file.size_bytes()), '\0');
  file.read_at(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

enum class SameKeys { LastCounts, Refused };

// The parser's callback: stops at values nested too deeply and, where refused, at keys that an
// object holds twice, of which the parser would keep the last.
class ParseGuard {
 public:
  ParseGuard(const fs::path& path, SameKeys same_keys) : path_(path), same_keys_(same_keys) {}

  bool operator()(int depth, json::parse_event_t event, const json& value) {
    if (depth > kMaxDepth) {
      fail(path_, "nested more than " + std::to_string(kMaxDepth) + " levels deep" + kRemedy);
    }
    if (same_keys_ == SameKeys::Refused) {
      check_key(event, value);
    }
    return true;
  }

 private:
  void check_key(json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key &&
               !keys_.back().insert(value.get<std::string>()).second) {
      fail(path_, "the key " + quote(value.get<std::string>()) + " stands twice" + kRemedy);
    }
  }

  const fs::path& path_;
  SameKeys same_keys_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

json parse_object(const fs::path& path, const std::string& text,
                  SameKeys same_keys = SameKeys::LastCounts) {
  // The parser takes a NUL for the end of its input, whatever follows.
  if (const size_t nul = text.find('\0'); nul != std::string::npos) {
    fail(path, "not valid JSON: byte " + std::to_string(nul) + " is 0; fetch the file again");
  }
  json value;
  try {
    value = json::parse(text, ParseGuard(path, same_keys));
  } catch (const json::exception& error) {
    const std::string_view what = error.what();  // "[json.exception.…] parse error at …: problem"
    const size_t start = what.find("] ");
    fail(path, "not valid JSON: " +
                   printable(start == std::string_view::npos ? what : what.substr(start + 2)) +
                   kRemedy);
  }
  if (!value.is_object()) {
    fail(path,
         "a JSON object is expected, this is of type " + std::string(value.type_name()) + kRemedy);
  }
  return value;
}

std::string string_or_empty(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

}  // namespace

PipelineIndex read_pipeline_index(const fs::path& path) {
  const json object = parse_object(path, read_text(path));
  PipelineIndex index;
  index.class_name = string_or_empty(object, "_class_name");
  for (const auto& [name, value] : object.items()) {
    // ["library", "Class"]; [null, null] is an absent component, anything else an option.
    if (name.starts_with('_') || !value.is_array() || value.size() != 2 || !value[1].is_string()) {
      continue;
    }
    if (!is_plain_file_name(name)) {
      fail(path, "component " + quote(name) + " is not the name of a directory beside this file");
    }
    index.entries.push_back({name, value[0].is_string() ? value[0].get<std::string>() : "",
                             value[1].get<std::string>()});
  }
  return index;
}

ModelConfig read_model_config(const fs::path& path) {
  ModelConfig config;
  config.text = read_text(path);
  const json object = parse_object(path, config.text);
  config.class_name = string_or_empty(object, "_class_name");
  const auto architectures = object.find("architectures");
  if (config.class_name.empty() && architectures != object.end() && architectures->is_array() &&
      !architectures->empty() && architectures->front().is_string()) {
    config.class_name = architectures->front().get<std::string>();
  }
  return config;
}

std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const json object = parse_object(path, read_text(path), SameKeys::Refused);
  const auto weight_map = object.find("weight_map");
  if (weight_map == object.end() || !weight_map->is_object()) {
    fail(path,
         "\"weight_map\" is missing or not an object; it maps each tensor to its file: fetch the "
         "index again, or remove it");
  }
  std::map<std::string, std::string> result;
  for (const auto& [tensor, file] : weight_map->items()) {
    if (!file.is_string()) {
      fail(path, "the file of tensor " + quote(tensor) + " is of type " +
                     std::string(file.type_name()) +
                     "; a string is expected: fetch the index again");
    }
    const std::string name = file.get<std::string>();
    if (!is_plain_file_name(name) || !name.ends_with(".safetensors")) {
      fail(path, "tensor " + quote(tensor) + " is said to be in " + quote(name) +
                     "; only names of .safetensors files in the same directory are allowed");
    }
    result.emplace(tensor, name);
  }
  if (result.empty()) {
    fail(path,
         "\"weight_map\" is empty; it maps each tensor to its file: fetch the index again, or "
         "remove it");
  }
  return result;
}

}  // namespace arrow_quant
