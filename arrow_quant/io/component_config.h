// A component's config.json: reading its scalars, and adding what was done to it.
#pragma once

#include <string>
#include <vector>

namespace arrow_quant {

// What goes into "quantization_config".
struct QuantizationConfigEntry {
  int bits = 4;
  int group_size = 128;
  std::string method;
  std::vector<std::string> modules_to_not_convert;  // names of the weights that were kept
};

// "key=value" of the top-level scalars, in order. Empty for text that is not a JSON object.
std::vector<std::string> config_scalars(const std::string& config_json);

// "quant_method" of "quantization_config": which tool the text says quantized the weights. "" where
// there is none, "an unknown tool" where it is not named.
std::string quantization_method(const std::string& config_json);

// The source's keys and order, plus "quantization_config": {"quant_method": "arrow_quant", …},
// which replaces one that is there. An empty text counts as {}.
// `source` names the file in messages. Throws: Error(InvalidModel) if the text is no JSON object.
std::string add_quantization_config(const std::string& config_json,
                                    const QuantizationConfigEntry& entry,
                                    const std::string& source);

}  // namespace arrow_quant
