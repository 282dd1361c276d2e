#include "arrow_quant/diffusion/layer_rules.h"

#include <algorithm>
#include <limits>

#include "arrow_quant/core/error.h"
#include "arrow_quant/diffusion/layer_names.h"
#include "arrow_quant/diffusion/tensor_path.h"

namespace arrow_quant {
namespace {

constexpr int64_t kMinElements = 16384;
constexpr int64_t kMinChannels = 32;
// std::regex recurses once a character: longer names could exhaust the stack.
constexpr size_t kMaxSearchedBytes = 1024;
constexpr int64_t kKeptBits = 16;  // of layer_bit_widths

std::string in_quotes(std::string_view text) {
  return "'" + std::string(text) + "'";
}

// Why no option can make a matrix of codes of this tensor; empty if one can.
std::string impossible(const TensorPath& path, const std::vector<int64_t>& shape, DType dtype) {
  if (!is_quantizable(dtype)) {
    return "type " + std::string(to_string(dtype)) + " is not quantized";
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) {
    return "no elements";
  }
  if (shape.empty()) {
    return "scalar";
  }
  if (shape.size() > 1) {
    return "";
  }
  if (path.leaf() == "bias" || path.leaf().ends_with("_bias")) {
    return "bias";
  }
  return names_norm(path) ? "norm" : "1-D tensor";
}

std::string small(const TensorPath& path, const std::vector<int64_t>& shape) {
  const MatrixShape matrix = matrix_shape(shape);
  const int64_t elements = matrix.rows * matrix.cols;
  if (elements < kMinElements) {
    return "small: " + std::to_string(elements) + " elements, fewer than " +
           std::to_string(kMinElements);
  }
  const size_t out = names_expert_stack(path) && shape.size() > 2 ? 1 : 0;
  const int64_t channels = std::min(shape[out], shape[out + 1]);
  return channels < kMinChannels ? "small: channels in or out: " + std::to_string(channels) +
                                       ", fewer than " + std::to_string(kMinChannels)
                                 : "";
}

// Why a layer of this role is kept; empty if it is quantized.
std::string kept_for(const NamedRole& named) {
  const std::string module(named.module);
  switch (named.role) {
    case LayerRole::FirstProjection:
      return "first projection: " + module;
    case LayerRole::LastProjection:
      return "last projection: " + module;
    case LayerRole::OutputHead:
      return "output head: " + module;
    case LayerRole::Embedder:
      return "embedder: " + module;
    case LayerRole::Norm:
      return "norm";
    default:
      return "";
  }
}

// Why a layer of this role gets 8 bits where fewer are asked; empty if it gets those asked.
std::string eight_bits_for(const NamedRole& named) {
  const std::string module(named.module);
  switch (named.role) {
    case LayerRole::Modulation:
      return "8 bits for adaLN modulation: " + module;
    case LayerRole::Shortcut:
      return "8 bits for a residual shortcut: " + module;
    case LayerRole::TimeProjection:
      return "8 bits for a time projection: " + module;
    case LayerRole::Resampling:
      return "8 bits for resampling: " + module;
    default:
      return "";
  }
}

// Why the built-in rules keep a tensor that could be quantized; empty if they quantize it.
std::string kept_by_rule(const TensorPath& path, const NamedRole& named,
                         const std::vector<int64_t>& shape) {
  if (const std::string_view other = foreign_component(path); !other.empty()) {
    return "belongs to the " + std::string(other);
  }
  if (std::string reason = kept_for(named); !reason.empty()) {
    return reason;
  }
  if (!names_weight(path)) {
    return names_norm(path) ? "norm" : "not a layer's weight: " + std::string(path.leaf());
  }
  return small(path, shape);
}

std::regex compile_regex(const std::string& option, const std::string& text,
                         const std::string& expression, const std::string& remedy) {
  try {
    return std::regex(expression, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw Error(ErrorCode::Configuration, option + ": " + in_quotes(text) +
                                              " is no ECMAScript regular expression (" +
                                              error.what() + "); " + remedy);
  }
}

}  // namespace

LayerRules::LayerRules(const LayerRuleOptions& options)
    : bit_width_(options.bit_width),
      diffusion_rules_(options.diffusion_rules),
      not_convert_(compile(options.modules_to_not_convert, "modules_to_not_convert")),
      convert_(compile(options.modules_to_convert, "modules_to_convert")),
      layers_(compile(options.layer_bit_widths)) {
  for (const auto& [pattern, bits] : options.layer_bit_widths) {
    layer_bits_.push_back(bits);
    if (bits != 2 && bits != 4 && bits != 8 && bits != kKeptBits) {
      throw Error(ErrorCode::Configuration, "layer_bit_widths: " + in_quotes(pattern) + " = " +
                                                std::to_string(bits) +
                                                ": allowed are 2, 4, 8, and 16 to keep the layer");
    }
  }
}

std::vector<LayerRules::Pattern> LayerRules::compile(const std::vector<std::string>& texts,
                                                     const char* option) {
  std::vector<Pattern> patterns;
  for (const std::string& text : texts) {
    if (text.empty() || text == "re:") {
      throw Error(ErrorCode::Configuration,
                  std::string(option) + ": " + in_quotes(text) +
                      " would match every tensor; give a part of a name, or 're:' and a regular "
                      "expression such as 're:.*'");
    }
    patterns.push_back({option, text, std::nullopt, false});
    if (text.starts_with("re:")) {
      patterns.back().regex = compile_regex(option, text, text.substr(3),
                                            "leave 're:' out to match a plain part of the name");
    }
  }
  return patterns;
}

std::vector<LayerRules::Pattern> LayerRules::compile(
    const std::vector<std::pair<std::string, int64_t>>& layer_bit_widths) {
  constexpr const char* kOption = "layer_bit_widths";
  std::vector<Pattern> patterns;
  for (const auto& [text, bits] : layer_bit_widths) {
    if (text.empty()) {
      throw Error(ErrorCode::Configuration,
                  std::string(kOption) + ": '' would match every tensor; give '.*' to say so");
    }
    patterns.push_back({kOption, text,
                        compile_regex(kOption, text, text,
                                      "put a backslash before signs that stand for themselves"),
                        true});
  }
  return patterns;
}

bool LayerRules::Pattern::matches(std::string_view name) const {
  if (!regex) {
    return name.find(text) != name.npos;
  }
  const std::string_view searched = name.substr(0, kMaxSearchedBytes);
  try {
    const size_t dot = searches_module ? searched.rfind('.') : searched.npos;
    return std::regex_search(searched.begin(), searched.end(), *regex) ||
           (dot != searched.npos &&
            std::regex_search(searched.begin(), searched.begin() + static_cast<ptrdiff_t>(dot),
                              *regex));
  } catch (const std::regex_error& error) {
    throw Error(ErrorCode::Configuration, option + ": " + in_quotes(text) +
                                              " is too complex to search in tensor " +
                                              in_quotes(searched) + " (" + error.what() + ")");
  }
}

LayerDecision LayerRules::decide(std::string_view name, const std::vector<int64_t>& shape,
                                 DType dtype) const {
  const TensorPath path(name);
  if (std::string reason = impossible(path, shape, dtype); !reason.empty()) {
    return {std::nullopt, std::move(reason)};
  }
  const auto keep = std::find_if(not_convert_.begin(), not_convert_.end(),
                                 [&](const Pattern& pattern) { return pattern.matches(name); });
  if (keep != not_convert_.end()) {
    return {std::nullopt, "asked not to convert: " + keep->text};
  }
  LayerDecision decision = decide_by_rule(path, name, shape);
  decision.quantizable = decision.bit_width.has_value();
  const auto asked = std::find_if(layers_.begin(), layers_.end(),
                                  [&](const Pattern& pattern) { return pattern.matches(name); });
  if (asked != layers_.end()) {
    const int64_t bits = layer_bits_[static_cast<size_t>(asked - layers_.begin())];
    decision.asked_for = true;
    decision.bit_width = bit_width_from_bits(static_cast<int>(bits));
    decision.quantizable = decision.quantizable || decision.bit_width.has_value();
    decision.reason = "layer_bit_widths: " + asked->text + " = " + std::to_string(bits);
  }
  return decision;
}

LayerDecision LayerRules::decide_by_rule(const TensorPath& path, std::string_view name,
                                         const std::vector<int64_t>& shape) const {
  if (std::any_of(convert_.begin(), convert_.end(),
                  [&](const Pattern& pattern) { return pattern.matches(name); })) {
    return {bit_width_, ""};
  }
  if (!diffusion_rules_) {
    std::string reason = small(path, shape);
    return {reason.empty() ? std::optional(bit_width_) : std::nullopt, std::move(reason)};
  }
  const NamedRole named = role_of(path);
  if (std::string reason = kept_by_rule(path, named, shape); !reason.empty()) {
    return {std::nullopt, std::move(reason)};
  }
  std::string reason = eight_bits_for(named);
  LayerDecision decision{bit_width_, ""};
  decision.sensitive = !reason.empty();
  if (decision.sensitive && bit_width_ < BitWidth::Int8) {
    decision.bit_width = BitWidth::Int8;
    decision.reason = std::move(reason);
  }
  return decision;
}

MatrixShape matrix_shape(const std::vector<int64_t>& shape) {
  if (shape.size() < 2) {
    return {1, shape.empty() ? 1 : shape[0]};
  }
  MatrixShape matrix{shape[0], 1};
  for (size_t i = 1; i < shape.size(); ++i) {
    if (__builtin_mul_overflow(matrix.cols, shape[i], &matrix.cols)) {
      matrix.cols = std::numeric_limits<int64_t>::max();
    }
  }
  return matrix;
}

}  // namespace arrow_quant
