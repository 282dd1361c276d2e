// BlockExtras: what a quantized block may have beside codes, scales and offsets: transforms to
// undo, corrections of the layer's bias, parameters that quantize the layer's input. Empty in most
// blocks. FORMAT.md says what each means when a model runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_quant/io/layer_report.h"
#include "arrow_quant/quant/transforms.h"

namespace arrow_quant {

// How a layer's input is quantized while the model runs.
enum class ActMode : uint8_t {
  None,
  Dynamic,  // ranges are taken from each input, times a clip ratio
  Static,   // scale and zero point are fixed
};
std::string_view to_string(ActMode mode);  // "", "dynamic", "static"
std::optional<ActMode> parse_act_mode(std::string_view name);

// Of one group of timesteps.
struct ActivationRange {
  float clip = 1;        // Dynamic: times the input's own range; finite and > 0
  float scale = 1;       // Static: finite and > 0
  float zero_point = 0;  // Static: finite; x ≈ scale · (code − zero_point)
  bool operator==(const ActivationRange&) const = default;
};

// More groups of timesteps than any model has.
inline constexpr int32_t kMaxTimeGroups = 256;

// What concerns the whole tensor stands in its block 0: low_rank_v, input_scale and the
// activation's fields are empty in the others. transforms, hadamard_block, rank and bias_groups are
// the same in all blocks; low_rank_u and bias_corrections hold the block's rows.
struct BlockExtras {
  std::vector<Transform> transforms;       // in the order in which a reader undoes them
  int32_t hadamard_block = 0;              // a power of two ≥ 2 that divides cols; 0: none
  int32_t rank = 0;                        // 1 … 65535; 0: no low rank
  std::vector<uint16_t> low_rank_u;        // bf16 [row_count, rank]
  std::vector<uint16_t> low_rank_v;        // bf16 [rank, cols]; block 0
  std::vector<float> input_scale;          // [cols], finite and > 0; block 0
  int32_t bias_groups = 0;                 // 1 … kMaxTimeGroups; 0: no corrections
  std::vector<uint16_t> bias_corrections;  // fp16 [bias_groups, row_count], finite
  int act_bits = 0;                        // 4, 8; 0: inputs are not quantized; block 0
  ActMode act_mode = ActMode::None;        // block 0
  std::vector<ActivationRange> act;        // one per group of timesteps, or one for all; block 0

  bool has(Transform transform) const {
    return std::find(transforms.begin(), transforms.end(), transform) != transforms.end();
  }
  bool operator==(const BlockExtras&) const = default;
};

// What is undone for the block's rows. Pre: the arrays are there, those of block 0 too.
TransformsView transforms_view(const BlockExtras& extras);

// Values in the arrays of a block of row_count rows of cols columns.
struct ExtrasSizes {
  size_t low_rank_u = 0;
  size_t low_rank_v = 0;
  size_t input_scale = 0;
  size_t bias_corrections = 0;
};
ExtrasSizes extras_sizes(const BlockExtras& extras, int32_t block_index, int64_t row_count,
                         int64_t cols);

// What is wrong with the extras of a block of row_count rows of cols columns, as "column is value,
// expected what is allowed"; "" if nothing is. The first looks at all but the arrays, the second at
// the sizes and values of the arrays.
std::string extras_problem(const BlockExtras& extras, bool quantized, int32_t block_index,
                           int64_t row_count, int64_t cols);
std::string extras_array_problem(const BlockExtras& extras, int32_t block_index, int64_t row_count,
                                 int64_t cols);

// In short, as the manifest has it. extras: of the tensor's block 0.
LayerExtras layer_extras(const BlockExtras& extras);

// The names of what a reader must know to use a tensor with these extras, sorted; see FORMAT.md,
// "Required features".
std::vector<std::string> features_of(const LayerExtras& extras);
bool is_known_feature(std::string_view name);

}  // namespace arrow_quant
