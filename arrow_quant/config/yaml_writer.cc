// A DiffusionQuantConfig → YAML text, and that text → a file.
#include <algorithm>
#include <vector>

#include "arrow_quant/config/options.h"
#include "arrow_quant/config/value_text.h"
#include "arrow_quant/core/atomic_file.h"

namespace arrow_quant {
namespace {

std::vector<std::string> split_at_dots(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// The lines that open the sections of `path` which `previous`, the path before it, is not in; then
// the option's own line.
std::string nested_lines(const std::vector<std::string>& path,
                         const std::vector<std::string>& previous, const std::string& value) {
  size_t common = 0;
  while (common + 1 < std::min(path.size(), previous.size()) && path[common] == previous[common]) {
    ++common;
  }
  std::string lines;
  for (size_t depth = common; depth < path.size(); ++depth) {
    lines += std::string(2 * depth, ' ') + path[depth] + ":" +
             (depth + 1 < path.size() ? "\n" : " " + value + "\n");
  }
  return lines;
}

}  // namespace

std::string DiffusionQuantConfig::to_yaml_text() const {
  validate();
  std::string flat;
  std::vector<const FieldDoc*> nested;
  for (const FieldDoc& field : config_field_docs()) {
    if (field.path.empty()) {
      flat += field.name + ": " + yaml_text(config_get(*this, field.name)) + "\n";
    } else {
      nested.push_back(&field);
    }
  }
  // Each section is opened once.
  std::stable_sort(nested.begin(), nested.end(), [](const FieldDoc* a, const FieldDoc* b) {
    return a->path.substr(0, a->path.rfind('.')) < b->path.substr(0, b->path.rfind('.'));
  });
  std::string text = flat;
  std::vector<std::string> previous;
  for (const FieldDoc* field : nested) {
    std::vector<std::string> path = split_at_dots(field->path);
    text += nested_lines(path, previous, yaml_text(config_get(*this, field->name)));
    previous = std::move(path);
  }
  return text;
}

void DiffusionQuantConfig::to_yaml(const std::filesystem::path& path) const {
  const std::string text = to_yaml_text();
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace arrow_quant
