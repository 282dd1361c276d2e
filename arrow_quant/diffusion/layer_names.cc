#include "arrow_quant/diffusion/layer_names.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace arrow_quant {
namespace {

// Names of modules, separated by single spaces.
using NameList = std::string_view;

// First and last projections, where they are modules of the model itself. The same names inside
// blocks (attentions.0.proj_in, single_transformer_blocks.0.proj_out) are ordinary layers.
constexpr NameList kFirst =
    "init_conv preprocess_conv project_in input_proj input_projection input_layer img_in vid_in "
    "patchify_proj "
    "init_x_linear image_projector continuous_inputs_projection";
constexpr NameList kLast =
    "final_conv postprocess_conv project_out out_proj output_proj output_projection final_proj "
    "vid_out final_norm "
    "final_linear output_layer out_layer out_block out output head clf spec_out modF mlm_layer "
    "ff_out embed_out to_logits cls proj_to_clip_embeddings";
// The same for names that occur with more words around them: all_x_embedder, audio_proj_out.
constexpr NameList kFirstWords =
    "conv_in proj_in x_embedder patch_embed patch_embedding patch_embedder";
constexpr NameList kLastWords = "conv_out proj_out norm_out final_layer";

// Embedders whose names say neither "embed" nor "emb", alone or with more words around them.
constexpr NameList kEmbedderWords =
    "time_in vector_in guidance_in txt_in text_in byt5_in vision_in time_mlp time_token "
    "timestep_proj time_step_proj time_projection sigma_map distilled_guidance_layer caption_proj "
    "caption_projection encoder_hid_proj encoder_hidden_states_proj wte wpe position_encoding "
    "positional_encoding relative_attention_bias";
// Those that are embedders only as modules of the model itself.
constexpr NameList kTopEmbedders =
    "temb shared pooler text_proj global_proj add_time_condition cross_attention_proj encoder_proj "
    "cond_seq_linear mlp_t5 t5_yproj clip_txt_pooled_mapper clip_txt_mapper clip_img_mapper "
    "glyph_projector prior_projector "
    "llm_cond_proj";

// Inside blocks only.
constexpr NameList kTimeProjections =
    "time_emb_proj time_emb emb_layers temb_proj diffusion_projection mapper mapper_sca mapper_crp";
constexpr NameList kShortcuts = "skip_connection conv_skip residual_conv res_conv";
constexpr NameList kResamplers = "down_sample up_sample";
constexpr NameList kModulations = "t_block cond_embeds_mapper";
constexpr NameList kModulationWords = "scale_shift a2v_gate v2a_gate";

// The roots of an all-in-one checkpoint's parts other than the denoiser.
struct Component {
  NameList roots;
  std::string_view what;
};
constexpr Component kForeign[] = {
    {"first_stage_model vae pretransform", "VAE"},
    {"cond_stage_model conditioner text_encoders text_encoder text_encoder_2 text_encoder_3 clip_l "
     "clip_g t5xxl",
     "text encoder"},
    {"vocoder", "vocoder"},
    {"model_ema", "averaged copy of the denoiser"},
};

bool in(NameList names, std::string_view module) {
  for (size_t at = names.find(module); at != names.npos; at = names.find(module, at + 1)) {
    const size_t end = at + module.size();
    if ((at == 0 || names[at - 1] == ' ') && (end == names.size() || names[end] == ' ')) {
      return !module.empty() && module.find(' ') == module.npos;
    }
  }
  return false;
}

// Whether the words of a name stand together in the module: those of "proj_in" in "audio_proj_in"
// and "proj_in_conv", not in "proj_inner".
bool has_words(std::string_view module, NameList names) {
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(' '));
    names.remove_prefix(std::min(name.size() + 1, names.size()));
    for (size_t at = module.find(name); at != module.npos; at = module.find(name, at + 1)) {
      const size_t end = at + name.size();
      if ((at == 0 || module[at - 1] == '_') && (end == module.size() || module[end] == '_')) {
        return true;
      }
    }
  }
  return false;
}

bool is_output_head(std::string_view module) {
  return module == "lm_head";
}

bool is_time_projection(std::string_view module) {
  return in(kTimeProjections, module);
}

bool is_embedder(std::string_view module) {
  return !in(kModulations, module) &&
         (has_words(module, kEmbedderWords) ||
          has_word(module, {"embed", "embedder", "embedders", "embedding", "embeddings", "emb"}));
}

bool is_norm(std::string_view module) {
  return has_word(module,
                  {"norm", "norms", "layernorm", "rmsnorm", "groupnorm", "batchnorm", "ln"});
}

bool is_shortcut(std::string_view module) {
  return in(kShortcuts, module) || has_word(module, {"shortcut"});
}

bool is_resampler(std::string_view module) {
  return in(kResamplers, module) ||
         has_word(module, {"downsample", "downsampler", "downsamplers", "downscalers", "upsample",
                           "upsampler", "upsamplers", "upscalers"});
}

bool is_modulation(std::string_view module) {
  std::string lower(module);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return in(kModulations, module) || has_words(module, kModulationWords) ||
         lower.find("adaln") != lower.npos || lower.starts_with("film") ||
         has_word(module, {"mod", "modulation", "modulations", "modC", "modX", "modCX"});
}

// Original Stable Diffusion numbers its modules: "input_blocks.0.0" is the first convolution,
// "input_blocks.3.0.op" a downsampler, "output_blocks.2.1.conv" an upsampler.
NamedRole numbered_unet_role(std::span<const std::string_view> modules) {
  if (modules.size() < 3 || (modules[0] != "input_blocks" && modules[0] != "output_blocks")) {
    return {};
  }
  if (modules.size() == 3 && modules[0] == "input_blocks" && modules[1] == "0") {
    return {LayerRole::FirstProjection, "input_blocks.0"};
  }
  if (modules.size() == 4 && (modules[3] == "op" || modules[3] == "conv")) {
    return {LayerRole::Resampling, modules[3]};
  }
  return {};
}

// Roles that only a module of the model itself has.
NamedRole top_level_role(std::span<const std::string_view> modules) {
  const std::string_view top = modules.front();
  if (in(kFirst, top) || has_words(top, kFirstWords)) {
    return {LayerRole::FirstProjection, top};
  }
  const bool is_decoder = top == "decoder" && modules.size() == 1;
  if (in(kLast, top) || has_words(top, kLastWords) || is_decoder) {
    return {LayerRole::LastProjection, top};
  }
  if (in(kTopEmbedders, top)) {
    return {LayerRole::Embedder, top};
  }
  return numbered_unet_role(modules);
}

}  // namespace

NamedRole role_of(const TensorPath& path) {
  const std::span<const std::string_view> modules = path.modules();
  if (const NamedRole top = top_level_role(modules); top.role != LayerRole::Ordinary) {
    return top;
  }
  struct Rule {
    LayerRole role;
    bool (*test)(std::string_view module);
    size_t from;
  };
  // The first that fits stands. Time projections come before embedders, whose words they share, and
  // embedders before modulation: adaLN carries its own time embedder ("norm1.emb.…").
  static constexpr Rule kRules[] = {
      {LayerRole::OutputHead, is_output_head, 0},
      {LayerRole::TimeProjection, is_time_projection, 1},
      {LayerRole::Embedder, is_embedder, 0},
      {LayerRole::Shortcut, is_shortcut, 1},
      {LayerRole::Resampling, is_resampler, 0},
      {LayerRole::Modulation, is_modulation, 0},
  };
  for (const Rule& rule : kRules) {
    if (const std::string_view module = path.find(rule.test, rule.from); !module.empty()) {
      return {rule.role, module};
    }
  }
  // A matrix that is a norm's own is a norm's; one below a norm makes its scale and shift.
  if (const std::string_view module = path.find(is_norm); !module.empty()) {
    return {is_norm(modules.back()) ? LayerRole::Norm : LayerRole::Modulation, module};
  }
  return {};
}

std::string_view foreign_component(const TensorPath& path) {
  const auto* const found =
      std::find_if(std::begin(kForeign), std::end(kForeign),
                   [&](const Component& component) { return in(component.roots, path.root()); });
  return found == std::end(kForeign) ? std::string_view() : found->what;
}

bool names_weight(const TensorPath& path) {
  const std::string_view leaf = path.leaf();
  return leaf == "weight" || leaf.ends_with("_weight") || leaf == "proj" ||
         leaf.ends_with("_proj") || leaf.ends_with("_projection") || names_expert_stack(path);
}

bool names_norm(const TensorPath& path) {
  return !path.find(is_norm).empty();
}

bool names_expert_stack(const TensorPath& path) {
  const std::span<const std::string_view> modules = path.modules();
  return modules.size() > 1 && modules[modules.size() - 2] == "experts" &&
         modules.back() == path.leaf();
}

}  // namespace arrow_quant
