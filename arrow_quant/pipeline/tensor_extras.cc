#include "arrow_quant/pipeline/tensor_extras.h"

namespace arrow_quant {
namespace {

// What a reader must know of how the weight was changed, in the order in which it is undone.
void add_transforms(const InputTransform* transform, const LowRank* low_rank, BlockExtras& extras) {
  if (transform != nullptr && transform->hadamard_block != 0) {
    extras.transforms.push_back(Transform::Hadamard);
    extras.hadamard_block = static_cast<int32_t>(transform->hadamard_block);
  }
  if (low_rank != nullptr) {
    extras.transforms.push_back(Transform::LowRank);
    extras.rank = static_cast<int32_t>(low_rank->rank);
    extras.low_rank_v = low_rank->v;
  }
  if (transform != nullptr && !transform->input_scale.empty()) {
    extras.transforms.push_back(Transform::InputScale);
    extras.input_scale = transform->input_scale;
  }
}

}  // namespace

BlockExtras tensor_extras(const InputTransform* transform, const LowRank* low_rank, int act_bits,
                          ActMode mode, const std::vector<ActivationRange>& act, size_t block) {
  BlockExtras extras;
  add_transforms(transform, low_rank, extras);
  if (block > 0) {  // what concerns the whole tensor stands in block 0
    extras.input_scale.clear();
    extras.low_rank_v.clear();
    return extras;
  }
  if (act_bits != 0) {
    extras.act_bits = act_bits;
    extras.act_mode = mode;
    extras.act = act;
  }
  return extras;
}

}  // namespace arrow_quant
