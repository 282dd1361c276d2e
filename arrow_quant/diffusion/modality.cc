#include "arrow_quant/diffusion/modality.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

namespace arrow_quant {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"text", "code", "image", "audio"};

// Parts of class names, in lower case, separated by spaces. The first row that fits stands: audio
// before image (AudioLDM2UNet2DConditionModel), video before image, image before text
// (UVit2DModel, too, has a mask token).
struct ClassClue {
  std::string_view parts;
  Modality modality;
  std::string_view what;
};
constexpr ClassClue kClassClues[] = {
    {"audio musicldm speech f5tts dancediffusion spectrogram t5film acestep", Modality::Audio,
     "an audio model"},
    {"unet1d", Modality::Audio, "a model of 1-D signals"},
    {"video transformer3d unet3d unetmotion unetspatiotemporal animatediff animate i2vgen "
     "wanpipeline wanimage wanvace wanmodel wantransformer ltxpipeline ltxcondition mochi latte "
     "allegro skyreels cosmos chronoedit consisid",
     Modality::Image, "a video model"},
    {"image unet2d uvit2d transformer2d dit2d stablediffusion latentdiffusion stablecascade "
     "wuerstchen kandinsky pixart flux sana lumina chroma auraflow cogview hidream omnigen amused "
     "ditpipeline ddpmpipeline ddimpipeline hunyuandit kolors priortransformer",
     Modality::Image, "an image model"},
    {"diffucoder dreamcoder dcoder", Modality::Code, "a code model"},
    {"llada dreammodel mdlm sedd bd3lm sdar diffullama diffugpt maskeddiffusion diffusionlm",
     Modality::Text, "a text model"},
};

// Modules that only models of one kind have; all of a row must be there. The first row that fits
// stands.
struct TensorClue {
  std::string_view modules;
  Modality modality;
  std::string_view what;
};
constexpr TensorClue kTensorClues[] = {
    {"preprocess_conv postprocess_conv", Modality::Audio, "Stable Audio"},
    {"residual_layers.0.diffusion_projection", Modality::Audio, "DiffWave or DiffSinger"},
    {"mel_spec", Modality::Audio, "an audio model with a mel spectrogram"},
    {"input_embed.conv_pos_embed text_embed.text_embed", Modality::Audio, "F5-TTS"},
    {"txt_in.individual_token_refiner", Modality::Image, "HunyuanVideo, a video model"},
    {"context_embedder.token_refiner x_embedder.proj", Modality::Image,
     "HunyuanVideo or HunyuanImage"},
    {"patch_embedding time_projection blocks.0.modulation", Modality::Image, "Wan, a video model"},
    {"patch_embedding condition_embedder.time_proj blocks.0.scale_shift_table", Modality::Image,
     "Wan, a video model"},
    {"patch_embed.text_proj", Modality::Image, "CogVideoX or CogView"},
    {"patchify_proj adaln_single", Modality::Image, "LTX, a video model"},
    {"double_blocks.0.img_attn single_blocks.0", Modality::Image, "FLUX"},
    {"joint_blocks.0.x_block joint_blocks.0.context_block", Modality::Image, "Stable Diffusion 3"},
    {"single_transformer_blocks.0 x_embedder", Modality::Image, "FLUX"},
    {"joint_transformer_blocks.0", Modality::Image, "AuraFlow"},
    {"double_layers.0 init_x_linear", Modality::Image, "AuraFlow"},
    {"img_in transformer_blocks.0.img_mod", Modality::Image, "Qwen-Image"},
    {"pos_embed.proj transformer_blocks.0", Modality::Image, "a transformer over image patches"},
    {"patch_embed.proj transformer_blocks.0", Modality::Image, "a transformer over image patches"},
    {"x_embedder y_embedder final_layer", Modality::Image, "a transformer over image patches"},
    {"x_embedder cap_embedder final_layer", Modality::Image, "a transformer over image patches"},
    {"input_blocks.0.0 middle_block.0 output_blocks.0.0", Modality::Image,
     "Stable Diffusion's UNet"},
    {"conv_in down_blocks.0.resnets.0.time_emb_proj up_blocks.0 conv_out", Modality::Image,
     "a UNet over images"},
    {"vocab_embed sigma_map output_layer", Modality::Text,
     "a discrete diffusion model over a vocabulary"},
};

template <class Visit>
void for_each_word(std::string_view list, Visit visit) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    visit(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

const ClassClue* clue_of_class(std::string_view class_name) {
  const std::string lower = lower_case(class_name);
  for (const ClassClue& clue : kClassClues) {
    // "Dream" alone is a model_type; as a part it is in many an image model's name.
    bool found = clue.modality == Modality::Text && lower == "dream";
    for_each_word(clue.parts,
                  [&](std::string_view part) { found = found || lower.find(part) != lower.npos; });
    if (found) {
      return &clue;
    }
  }
  return nullptr;
}

// Whether "Code" or "Coder" is a word of the name, between case changes and signs: in
// "DiffuCoder-7B", not in "T5EncoderModel".
bool speaks_of_code(std::string_view name) {
  for (size_t at = 0; at < name.size(); ++at) {
    const std::string_view rest = name.substr(at);
    const bool capital = rest.starts_with("Code");
    if (!capital && !rest.starts_with("code")) {
      continue;
    }
    const auto is_letter = [&](size_t i) {
      return i < name.size() && std::isalpha(static_cast<unsigned char>(name[i]));
    };
    const auto is_lower = [&](size_t i) {
      return i < name.size() && std::islower(static_cast<unsigned char>(name[i]));
    };
    const size_t end = at + (rest.substr(4).starts_with("r") ? 5 : 4);
    const bool starts = at == 0 || !is_letter(at - 1) || (capital && is_lower(at - 1));
    if (starts && !is_lower(end)) {
      return true;
    }
  }
  return false;
}

// "value" of the config string "key=value"; empty if there is none, or it is null.
std::string_view config_value(const ModelClues& clues, std::string_view key) {
  for (std::string_view entry : clues.config_strings) {
    if (entry.size() > key.size() && entry.starts_with(key) && entry[key.size()] == '=') {
      entry.remove_prefix(key.size() + 1);
      if (entry.size() > 1 && entry.front() == '"' && entry.back() == '"') {
        entry = entry.substr(1, entry.size() - 2);
      }
      return entry == "null" ? std::string_view() : entry;
    }
  }
  return {};
}

// The name at the end of a path: folders say nothing of a model.
std::string_view last_segment(std::string_view path) {
  while (path.ends_with('/')) {
    path.remove_suffix(1);
  }
  const size_t slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

struct NamedClass {
  std::string_view name;
  std::string where;
};

// Every name that may tell, the most telling first.
std::vector<NamedClass> names_that_tell(const ModelClues& clues) {
  std::vector<NamedClass> names;
  names.push_back({clues.pipeline_class, "model_index.json names the pipeline "});
  for (const std::string& name : clues.class_names) {
    names.push_back({name, "a config names the class "});
  }
  for (const std::string_view key : {"_class_name", "architectures", "model_type"}) {
    names.push_back({config_value(clues, key), "a config says " + std::string(key) + "="});
  }
  names.push_back({last_segment(config_value(clues, "_name_or_path")),
                   "a config says that the model comes from "});
  std::erase_if(names, [](const NamedClass& named) { return named.name.empty(); });
  return names;
}

ModalityGuess guess_from_names(const std::vector<NamedClass>& names) {
  ModalityGuess guess;
  for (const NamedClass& named : names) {
    if (const ClassClue* clue = clue_of_class(named.name); clue && !guess.modality) {
      guess = {clue->modality,
               named.where + std::string(named.name) + ": " + std::string(clue->what)};
    }
  }
  if (!guess.modality || guess.modality == Modality::Text) {
    for (const NamedClass& named : names) {
      if (speaks_of_code(named.name)) {
        return {Modality::Code, named.where + std::string(named.name) + ": a code model"};
      }
    }
  }
  return guess;
}

ModalityGuess guess_from_mask_token(const ModelClues& clues) {
  for (const std::string_view key : {"mask_token_id", "mask_id", "mask_index"}) {
    const std::string_view mask = config_value(clues, key);
    for (const std::string_view size_key : {"vocab_size", "embedding_size"}) {
      const std::string_view size = config_value(clues, size_key);
      if (!mask.empty() && !size.empty()) {
        return {Modality::Text, "a config has " + std::string(key) + "=" + std::string(mask) +
                                    " and " + std::string(size_key) + "=" + std::string(size) +
                                    ": masked diffusion over a vocabulary"};
      }
    }
  }
  return {};
}

// Whether the modules, "a.b", stand in a name: at its start or after a dot, up to its end or a dot.
bool has_modules(std::string_view name, std::string_view modules) {
  for (size_t at = name.find(modules); at != name.npos; at = name.find(modules, at + 1)) {
    const size_t end = at + modules.size();
    if ((at == 0 || name[at - 1] == '.') && (end == name.size() || name[end] == '.')) {
      return true;
    }
  }
  return false;
}

ModalityGuess guess_from_tensors(std::span<const std::string> names) {
  for (const TensorClue& clue : kTensorClues) {
    bool all = true;
    std::string seen;
    for_each_word(clue.modules, [&](std::string_view modules) {
      all = all && std::any_of(names.begin(), names.end(),
                               [&](const std::string& name) { return has_modules(name, modules); });
      seen += (seen.empty() ? "" : ", ") + std::string(modules);
    });
    if (all) {
      return {clue.modality, "tensors are named as in " + std::string(clue.what) + ": " + seen};
    }
  }
  return {};
}

std::string looked_at(const ModelClues& clues, const std::vector<NamedClass>& names) {
  std::string seen;
  for (const NamedClass& named : names) {
    seen += (seen.empty() ? "" : ", ") + std::string(named.name);
  }
  const size_t values = clues.config_strings.size();
  return "nothing known among " + (seen.empty() ? "" : "the names " + seen + ", ") +
         (values == 0 ? "" : std::to_string(values) + " config values, ") + "the names of " +
         std::to_string(clues.tensor_names.size()) + " tensors";
}

}  // namespace

std::string_view to_string(Modality modality) {
  return kNames[static_cast<size_t>(modality)];
}

std::optional<Modality> parse_modality(std::string_view name) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  return found == kNames.end()
             ? std::nullopt
             : std::optional(static_cast<Modality>(std::distance(kNames.begin(), found)));
}

ModalityGuess detect_modality(const ModelClues& clues) {
  const std::vector<NamedClass> names = names_that_tell(clues);
  if (ModalityGuess guess = guess_from_names(names); guess.modality) {
    return guess;
  }
  if (ModalityGuess guess = guess_from_mask_token(clues); guess.modality) {
    return guess;
  }
  if (ModalityGuess guess = guess_from_tensors(clues.tensor_names); guess.modality) {
    return guess;
  }
  return {std::nullopt, looked_at(clues, names)};
}

}  // namespace arrow_quant
