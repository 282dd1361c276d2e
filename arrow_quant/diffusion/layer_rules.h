// Which tensors of a diffusion model are quantized, at how many bits, and why the others are kept.
// A pure function of names, shapes and types: the plan needs no weights.
//
// Quantized are weights of linear and convolution layers. In this order:
//   1. kept, whatever is asked: types that are not quantized, no elements, scalars and 1-D tensors;
//   2. kept: modules_to_not_convert;      3. the asked bits: modules_to_convert;
//   4. kept: other components of an all-in-one checkpoint (VAE, text encoder), first and last
//      projections and output heads, embedders, norms, tables and tokens, small tensors: fewer than
//      16,384 elements, or fewer than 32 channels in or out (shape[0], shape[1]; of a stack of
//      experts [experts, out, in], those of one expert);
//   5. 8 bits where fewer are asked: adaLN modulation, residual shortcuts, time projections inside
//      residual blocks, resampling convolutions;
//   6. the asked bits: all others.
// Without the rules for diffusion, of 4 only the small tensors, and nothing of 5.
#pragma once

#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {

struct LayerRuleOptions {
  BitWidth bit_width = BitWidth::Int4;
  // Modules not to convert, and modules to convert although a rule would keep them: a substring of
  // the tensor's name, or "re:" and a regular expression (ECMAScript) searched in it.
  std::vector<std::string> modules_to_not_convert;
  std::vector<std::string> modules_to_convert;
  bool diffusion_rules = true;  // false: any model's weights, whatever their role
};

struct LayerDecision {
  std::optional<BitWidth> bit_width;  // unset: kept
  // Kept: why, in words ("norm", "embedder: …"). Quantized at other than the asked bits: why.
  // Else empty.
  std::string reason;
};

class LayerRules {
 public:
  // One entry of modules_to_not_convert or modules_to_convert.
  struct Pattern {
    std::string text;
    std::optional<std::regex> regex;
    // Throws: Error(Configuration) for a regular expression too complex to search.
    bool matches(std::string_view name) const;
  };
  // Throws: Error(Configuration) as the constructor does.
  static std::vector<Pattern> compile(const std::vector<std::string>& texts);

  // Throws: Error(Configuration) for an empty pattern, or a regular expression that does not
  // compile.
  explicit LayerRules(const LayerRuleOptions& options);

  // First and last projections are told by name: no number of blocks is needed.
  // Throws: Error(Configuration) for a regular expression too complex to search.
  LayerDecision decide(std::string_view name, const std::vector<int64_t>& shape, DType dtype) const;

 private:
  BitWidth bit_width_;
  bool diffusion_rules_;
  std::vector<Pattern> not_convert_;
  std::vector<Pattern> convert_;
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
