// What kind of data a diffusion model makes, told from its own configs and tensor names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace arrow_quant {

enum class Modality { Text, Code, Image, Audio };
std::string_view to_string(Modality modality);  // "text", "code", "image", "audio"
std::optional<Modality> parse_modality(std::string_view name);

// What is known of a model without reading a weight.
struct ModelClues {
  std::string pipeline_class;               // model_index.json "_class_name"; "" if unknown
  std::vector<std::string> class_names;     // of the components (config.json)
  std::vector<std::string> config_strings;  // "key=value" of the configs' top-level scalars
  std::vector<std::string> tensor_names;
};

struct ModalityGuess {
  std::optional<Modality> modality;  // unset: cannot be told
  std::string evidence;              // what it was told from, in words; why not, if unset
};

ModalityGuess detect_modality(const ModelClues& clues);

}  // namespace arrow_quant
