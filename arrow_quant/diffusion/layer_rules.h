// Which tensors of a diffusion model are quantized, at how many bits, and why the others are kept.
// A pure function of names, shapes and types: the plan needs no weights.
//
// Quantized are weights of linear and convolution layers. In this order:
//   1. kept, whatever is asked: types that are not quantized, no elements, scalars and 1-D tensors;
//   2. kept: modules_to_not_convert;      3. the pattern's bits, or kept: layer_bit_widths;
//   4. the asked bits: modules_to_convert;
//   5. kept: other components of an all-in-one checkpoint (VAE, text encoder), first and last
//      projections and output heads, embedders, norms, tables and tokens, small tensors: fewer than
//      16,384 elements, or fewer than 32 channels in or out (shape[0], shape[1]; of a stack of
//      experts [experts, out, in], those of one expert);
//   6. 8 bits where fewer are asked: adaLN modulation, residual shortcuts, time projections inside
//      residual blocks, resampling convolutions;
//   7. the asked bits: all others.
// Without the rules for diffusion, of 5 only the small tensors, and nothing of 6.
#pragma once

#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {

class TensorPath;

struct LayerRuleOptions {
  BitWidth bit_width = BitWidth::Int4;
  // Modules not to convert, and modules to convert although a rule would keep them: a substring of
  // the tensor's name, or "re:" and a regular expression (ECMAScript) searched in it.
  std::vector<std::string> modules_to_not_convert;
  std::vector<std::string> modules_to_convert;
  // Bits of the layers whose name, or name without its last part, a regular expression is found in;
  // the first that is found counts. 2, 4 or 8; 16: kept in the source's type.
  std::vector<std::pair<std::string, int64_t>> layer_bit_widths;
  bool diffusion_rules = true;  // false: any model's weights, whatever their role
};

struct LayerDecision {
  std::optional<BitWidth> bit_width;  // unset: kept
  // Kept: why, in words ("norm", "embedder: …"). Quantized at other than the asked bits: why.
  // Else empty.
  std::string reason;
  // layer_bit_widths decided.
  bool asked_for = false;
  // The built-in rules and modules_to_convert would quantize it, or layer_bit_widths does.
  bool quantizable = false;
  // A layer whose errors spread, such as adaLN's: its input is never quantized.
  bool sensitive = false;
};

class LayerRules {
 public:
  // One entry of modules_to_not_convert, modules_to_convert or layer_bit_widths.
  struct Pattern {
    std::string option;  // for messages
    std::string text;
    std::optional<std::regex> regex;
    // The name without its last part is searched too: "blocks.0.to_q" of "blocks.0.to_q.weight".
    bool searches_module = false;
    // Throws: Error(Configuration) for a regular expression too complex to search.
    bool matches(std::string_view name) const;
  };
  // Throws: Error(Configuration) as the constructor does.
  static std::vector<Pattern> compile(const std::vector<std::string>& texts, const char* option);
  // The patterns of layer_bit_widths.
  static std::vector<Pattern> compile(
      const std::vector<std::pair<std::string, int64_t>>& layer_bit_widths);

  // Throws: Error(Configuration) for an empty pattern, or a regular expression that does not
  // compile.
  explicit LayerRules(const LayerRuleOptions& options);

  // First and last projections are told by name: no number of blocks is needed.
  // Throws: Error(Configuration) for a regular expression too complex to search.
  LayerDecision decide(std::string_view name, const std::vector<int64_t>& shape, DType dtype) const;

 private:
  LayerDecision decide_by_rule(const TensorPath& path, std::string_view name,
                               const std::vector<int64_t>& shape) const;

  BitWidth bit_width_;
  bool diffusion_rules_;
  std::vector<Pattern> not_convert_;
  std::vector<Pattern> convert_;
  std::vector<Pattern> layers_;  // as layer_bits_
  std::vector<int64_t> layer_bits_;
};

// A weight of two or more dimensions seen as [out, in·…].
struct MatrixShape {
  int64_t rows = 0;
  int64_t cols = 0;
};
// Shape [] or [n] → [1, n]. Cols too large for int64 become its maximum; only a tensor without
// elements can have them.
MatrixShape matrix_shape(const std::vector<int64_t>& shape);

}  // namespace arrow_quant
