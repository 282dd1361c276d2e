#include "arrow_quant/pipeline/tensor_extras.h"

namespace arrow_quant {
namespace {

// What a reader must know of a transform.
void add_transform(const InputTransform& transform, BlockExtras& extras) {
  if (transform.hadamard_block != 0) {
    extras.transforms.push_back(Transform::Hadamard);
    extras.hadamard_block = static_cast<int32_t>(transform.hadamard_block);
  }
  if (!transform.input_scale.empty()) {
    extras.transforms.push_back(Transform::InputScale);
    extras.input_scale = transform.input_scale;
  }
}

}  // namespace

BlockExtras tensor_extras(const InputTransform* transform, int act_bits, ActMode mode,
                          const std::vector<ActivationRange>& act, size_t block) {
  BlockExtras extras;
  if (transform != nullptr) add_transform(*transform, extras);
  if (block > 0) {  // what concerns the whole tensor stands in block 0
    extras.input_scale.clear();
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
