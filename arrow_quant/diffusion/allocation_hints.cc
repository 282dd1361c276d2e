#include "arrow_quant/diffusion/allocation_hints.h"

#include <algorithm>
#include <span>

#include "arrow_quant/diffusion/tensor_path.h"

namespace arrow_quant {
namespace {

using Names = std::span<const std::string_view>;

constexpr std::string_view kQueries[] = {"to_q", "q_proj", "add_q_proj", "q", "query", "wq"};
constexpr std::string_view kKeysAndValues[] = {"to_k", "to_v", "k_proj", "v_proj",     "add_k_proj",
                                               "k",    "v",    "key",    "add_v_proj", "value",
                                               "wk",   "wv",   "to_kv",  "kv"};
constexpr std::string_view kGatesAndUps[] = {"gate_proj", "up_proj", "w1", "w3"};
constexpr std::string_view kDowns[] = {"down_proj",     "fc2",        "w2",
                                       "dense_4h_to_h", "conv_point", "ff_out"};

bool in(Names names, std::string_view module) {
  return std::find(names.begin(), names.end(), module) != names.end();
}

bool is_cross_attention(std::string_view module) {
  return module == "attn2" || module == "crossattn" || module == "encoder_attn" ||
         has_word(module, {"cross"});
}

bool in_cross_attention(const TensorPath& path) {
  return !path.find(is_cross_attention).empty();
}

bool is_feed_forward_down(const TensorPath& path) {
  const std::span<const std::string_view> modules = path.modules();
  const std::string_view last = modules.back();
  if (in(kDowns, last)) {
    return true;
  }
  if (modules.size() < 2 || !has_word(modules[modules.size() - 2], {"mlp", "ff", "ffn", "net"})) {
    return false;
  }
  // By its place: "ff.net.2", "img_mlp.2".
  return last == "2" || last == "c_proj" || last == "wo";
}

}  // namespace

double error_weight(std::string_view tensor_name) {
  const TensorPath path(tensor_name);
  const bool content = in(kKeysAndValues, path.modules().back()) && in_cross_attention(path);
  return content || is_feed_forward_down(path) ? 2.0 : 1.0;
}

std::string fused_group(std::string_view tensor_name) {
  const TensorPath path(tensor_name);
  if (path.leaf() != "weight") {
    return "";
  }
  const std::string_view last = path.modules().back();
  const bool query = in(kQueries, last);
  const bool key_or_value = in(kKeysAndValues, last);
  const bool cross = in_cross_attention(path);
  const char* kind = nullptr;
  if (key_or_value && cross) {
    kind = "kv";
  } else if ((query && !cross) || key_or_value) {
    kind = "qkv";
  } else if (in(kGatesAndUps, last)) {
    kind = "gate_up";
  }
  if (kind == nullptr) {
    return "";
  }
  // Text and image streams of a joint attention read different inputs.
  const char* const stream = last.starts_with("add_") ? "add_" : "";
  tensor_name.remove_suffix(last.size() + std::string_view(".weight").size());
  return std::string(tensor_name) + stream + kind;
}

}  // namespace arrow_quant
