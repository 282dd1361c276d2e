// What a weight does in a diffusion model, told from its name as diffusers, transformers and the
// models' own repositories spell it. Names only: shapes and types are layer_rules' business.
#pragma once

#include <string_view>

#include "arrow_quant/diffusion/tensor_path.h"

namespace arrow_quant {

enum class LayerRole {
  Ordinary,
  FirstProjection,  // of the model, not of a block: conv_in, x_embedder, top-level proj_in
  LastProjection,   // of the model, not of a block: conv_out, norm_out.linear, top-level proj_out
  OutputHead,       // lm_head
  Embedder,         // time, label, token, text, patch, position, guidance
  Norm,
  Modulation,      // adaLN: a linear layer that makes a norm's scale and shift
  Shortcut,        // the convolution on the skipping branch of a residual block
  TimeProjection,  // of the time embedding, inside a residual block
  Resampling,      // the convolution of a down- or upsampler
};

struct NamedRole {
  LayerRole role = LayerRole::Ordinary;
  std::string_view module;  // the part of the name that tells; empty for Ordinary
};

NamedRole role_of(const TensorPath& path);

// "VAE", "text encoder" …: the part of an all-in-one checkpoint, other than the denoiser, to which
// the tensor belongs. Empty for the denoiser.
std::string_view foreign_component(const TensorPath& path);

// Whether the name is that of a layer's weight, not of a table, a scale or a learned token.
// Pre: the tensor has two or more dimensions.
bool names_weight(const TensorPath& path);

// Whether a part of the name is that of a norm: "norm1", "post_attention_layernorm", "ln_f".
bool names_norm(const TensorPath& path);

// Whether the tensor stacks the weights of several experts: [experts, …, …].
bool names_expert_stack(const TensorPath& path);

}  // namespace arrow_quant
