#include "arrow_quant/io/block_extras.h"

#include <bit>
#include <cmath>

namespace arrow_quant {
namespace {

constexpr int64_t kMaxRank = 65535;

constexpr std::string_view kBiasCorrections = "bias_corrections";
constexpr std::string_view kActivation = "activation_quantization";

std::string wrong(const std::string& column, const std::string& value, const std::string& allowed) {
  return column + " is " + value + ", expected " + allowed;
}

std::string names_of(const std::vector<Transform>& transforms) {
  std::string text = "[";
  for (const Transform transform : transforms) {
    text += (text.size() == 1 ? "" : ", ") + std::string(to_string(transform));
  }
  return text + "]";
}

// "" if the number of values is `expected`.
std::string size_problem(const std::string& column, size_t values, size_t expected) {
  if (values == expected) return "";
  return wrong(column, std::to_string(values) + " values long", std::to_string(expected));
}

template <class T, class F>
std::string value_problem(const std::string& column, const std::vector<T>& values, F allowed,
                          const std::string& expected) {
  const auto found = std::find_if_not(values.begin(), values.end(), allowed);
  if (found == values.end()) return "";
  return column + " has a value at " + std::to_string(found - values.begin()) + " that is not " +
         expected;
}

bool is_finite_half(uint16_t half) {
  return (half & 0x7C00) != 0x7C00;
}
bool is_finite_bfloat(uint16_t value) {
  return (value & 0x7F80) != 0x7F80;
}
bool is_positive(float value) {
  return std::isfinite(value) && value > 0;
}

std::string transforms_problem(const BlockExtras& e, int64_t cols) {
  if (!is_known_order(e.transforms)) {
    return wrong("transforms", names_of(e.transforms),
                 "some of hadamard, low_rank, input_scale, in this order");
  }
  const bool power =
      e.hadamard_block >= 2 && std::has_single_bit(std::bit_cast<uint32_t>(e.hadamard_block));
  if (!e.has(Transform::Hadamard) && e.hadamard_block != 0) {
    return wrong("hadamard_block", std::to_string(e.hadamard_block), "0 without a hadamard");
  }
  if (e.has(Transform::Hadamard) && (!power || cols % e.hadamard_block != 0)) {
    return wrong("hadamard_block", std::to_string(e.hadamard_block),
                 "a power of two that divides " + std::to_string(cols) + " columns");
  }
  if (e.has(Transform::LowRank) ? e.rank < 1 || e.rank > kMaxRank : e.rank != 0) {
    return wrong(
        "rank", std::to_string(e.rank),
        e.has(Transform::LowRank) ? "1 to " + std::to_string(kMaxRank) : "0 without a low_rank");
  }
  return "";
}

std::string activation_problem(const BlockExtras& e, int32_t block_index) {
  const bool on = e.act_bits != 0;
  if (on && (e.act_bits != 4 && e.act_bits != 8)) {
    return wrong("act_bits", std::to_string(e.act_bits), "0, 4 or 8");
  }
  if (on && block_index != 0) {
    return wrong("act_bits", std::to_string(e.act_bits), "0: they stand in block 0");
  }
  if (on != (e.act_mode != ActMode::None)) {
    return wrong("act_mode", "'" + std::string(to_string(e.act_mode)) + "'",
                 on ? "'dynamic' or 'static' with act_bits" : "'' without act_bits");
  }
  if (on ? e.act.empty() || e.act.size() > kMaxTimeGroups : !e.act.empty()) {
    return wrong("act", std::to_string(e.act.size()) + " values long",
                 on ? "1 to " + std::to_string(kMaxTimeGroups) : "0 without act_bits");
  }
  for (size_t i = 0; i < e.act.size(); ++i) {
    const auto& [clip, scale, zero_point] = e.act[i];
    if (!is_positive(clip) || !is_positive(scale) || !std::isfinite(zero_point)) {
      return wrong("act",
                   "{" + std::to_string(clip) + ", " + std::to_string(scale) + ", " +
                       std::to_string(zero_point) + "} at " + std::to_string(i),
                   "finite values, clip and scale above 0");
    }
  }
  return "";
}

}  // namespace

std::string_view to_string(ActMode mode) {
  switch (mode) {
    case ActMode::None:
      return "";
    case ActMode::Dynamic:
      return "dynamic";
    case ActMode::Static:
      return "static";
  }
  return "";
}

std::optional<ActMode> parse_act_mode(std::string_view name) {
  for (const auto mode : {ActMode::None, ActMode::Dynamic, ActMode::Static}) {
    if (name == to_string(mode)) return mode;
  }
  return std::nullopt;
}

TransformsView transforms_view(const BlockExtras& extras) {
  TransformsView view;
  view.order = extras.transforms;
  view.hadamard_block = static_cast<size_t>(extras.hadamard_block);
  view.rank = static_cast<size_t>(extras.rank);
  view.low_rank_u = extras.low_rank_u.data();
  view.low_rank_v = extras.low_rank_v.data();
  view.input_scale = extras.input_scale.data();
  return view;
}

std::string extras_problem(const BlockExtras& extras, bool quantized, int32_t block_index,
                           int64_t row_count, int64_t cols) {
  if (!quantized && extras != BlockExtras()) {
    return "a kept tensor has transforms, corrections or activation parameters, expected none";
  }
  if (std::string problem = transforms_problem(extras, cols); !problem.empty()) return problem;
  if (extras.bias_groups < 0 || extras.bias_groups > kMaxTimeGroups ||
      (extras.bias_groups > 0 && row_count == 0)) {
    return wrong(
        "bias_corrections", "of " + std::to_string(extras.bias_groups) + " groups",
        row_count == 0 ? "none in a block without rows" : "0 to " + std::to_string(kMaxTimeGroups));
  }
  return activation_problem(extras, block_index);
}

ExtrasSizes extras_sizes(const BlockExtras& extras, int32_t block_index, int64_t row_count,
                         int64_t cols) {
  const auto rows = static_cast<size_t>(row_count);
  const size_t shared_cols = block_index == 0 ? static_cast<size_t>(cols) : 0;
  const auto rank = static_cast<size_t>(extras.rank);
  return {rows * rank, rank * shared_cols, extras.has(Transform::InputScale) ? shared_cols : 0,
          static_cast<size_t>(extras.bias_groups) * rows};
}

std::string extras_array_problem(const BlockExtras& e, int32_t block_index, int64_t row_count,
                                 int64_t cols) {
  const ExtrasSizes sizes = extras_sizes(e, block_index, row_count, cols);
  const std::string problems[] = {
      size_problem("low_rank_u", e.low_rank_u.size(), sizes.low_rank_u),
      size_problem("low_rank_v", e.low_rank_v.size(), sizes.low_rank_v),
      size_problem("input_scale", e.input_scale.size(), sizes.input_scale),
      size_problem("bias_corrections", e.bias_corrections.size(), sizes.bias_corrections),
      value_problem("low_rank_u", e.low_rank_u, is_finite_bfloat, "finite"),
      value_problem("low_rank_v", e.low_rank_v, is_finite_bfloat, "finite"),
      value_problem("input_scale", e.input_scale, is_positive, "finite and above 0"),
      value_problem("bias_corrections", e.bias_corrections, is_finite_half, "finite"),
  };
  for (const std::string& problem : problems) {
    if (!problem.empty()) return problem;
  }
  return "";
}

LayerExtras layer_extras(const BlockExtras& extras) {
  LayerExtras layer;
  for (const Transform transform : extras.transforms) {
    layer.transforms.emplace_back(to_string(transform));
  }
  layer.hadamard_block = extras.hadamard_block;
  layer.rank = extras.rank;
  layer.bias_groups = extras.bias_groups;
  layer.act_bits = extras.act_bits;
  layer.act_mode = to_string(extras.act_mode);
  layer.act_groups = static_cast<int>(extras.act.size());
  return layer;
}

std::vector<std::string> features_of(const LayerExtras& extras) {
  std::vector<std::string> names = extras.transforms;
  if (extras.bias_groups != 0) names.emplace_back(kBiasCorrections);
  if (extras.act_bits != 0) names.emplace_back(kActivation);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_known_feature(std::string_view name) {
  return parse_transform(name) || name == kBiasCorrections || name == kActivation;
}

}  // namespace arrow_quant
