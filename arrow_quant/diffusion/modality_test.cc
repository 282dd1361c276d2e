#include "arrow_quant/diffusion/modality.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace arrow_quant {
namespace {

using ::testing::HasSubstr;

struct Case {
  ModelClues clues;
  std::optional<Modality> modality;
  std::string evidence;  // a part of it
};

void expect_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const ModalityGuess guess = detect_modality(c.clues);
    SCOPED_TRACE(guess.evidence);
    EXPECT_EQ(guess.modality, c.modality) << c.evidence;
    EXPECT_THAT(guess.evidence, HasSubstr(c.evidence));
  }
}

Case pipeline(const std::string& name, Modality modality, const std::string& what) {
  return {{name, {}, {}, {}}, modality, "the pipeline " + name + ": " + what};
}
Case model(const std::string& name, Modality modality, const std::string& what) {
  return {{"", {name}, {}, {}}, modality, "the class " + name + ": " + what};
}

TEST(Modality, NamesAreReadBackAsWritten) {
  for (const Modality modality :
       {Modality::Text, Modality::Code, Modality::Image, Modality::Audio}) {
    EXPECT_EQ(parse_modality(to_string(modality)), modality);
  }
  EXPECT_EQ(to_string(Modality::Audio), "audio");
  EXPECT_EQ(parse_modality("Image"), std::nullopt);
  EXPECT_EQ(parse_modality(""), std::nullopt);
}

TEST(Modality, IsToldByThePipeline) {
  expect_all({
      pipeline("StableDiffusionPipeline", Modality::Image, "an image model"),
      pipeline("StableDiffusionXLPipeline", Modality::Image, "an image model"),
      pipeline("DiTPipeline", Modality::Image, "an image model"),
      pipeline("DDPMPipeline", Modality::Image, "an image model"),
      pipeline("FluxPipeline", Modality::Image, "an image model"),
      pipeline("PixArtAlphaPipeline", Modality::Image, "an image model"),
      pipeline("QwenImagePipeline", Modality::Image, "an image model"),
      pipeline("WanPipeline", Modality::Image, "a video model"),
      pipeline("WanImageToVideoPipeline", Modality::Image, "a video model"),
      pipeline("CogVideoXPipeline", Modality::Image, "a video model"),
      pipeline("LTXPipeline", Modality::Image, "a video model"),
      pipeline("HunyuanVideoPipeline", Modality::Image, "a video model"),
      pipeline("StableAudioPipeline", Modality::Audio, "an audio model"),
      pipeline("AudioLDM2Pipeline", Modality::Audio, "an audio model"),
      pipeline("MusicLDMPipeline", Modality::Audio, "an audio model"),
      pipeline("DanceDiffusionPipeline", Modality::Audio, "an audio model"),
      pipeline("SpectrogramDiffusionPipeline", Modality::Audio, "an audio model"),
  });
}

TEST(Modality, IsToldByTheClassesOfComponents) {
  expect_all({
      model("UNet2DConditionModel", Modality::Image, "an image model"),
      model("DiTTransformer2DModel", Modality::Image, "an image model"),
      model("SD3Transformer2DModel", Modality::Image, "an image model"),
      model("UVit2DModel", Modality::Image, "an image model"),
      model("StableCascadeUNet", Modality::Image, "an image model"),
      model("WanTransformer3DModel", Modality::Image, "a video model"),
      model("MochiTransformer3DModel", Modality::Image, "a video model"),
      model("UNetSpatioTemporalConditionModel", Modality::Image, "a video model"),
      model("StableAudioDiTModel", Modality::Audio, "an audio model"),
      model("AudioLDM2UNet2DConditionModel", Modality::Audio, "an audio model"),
      model("UNet1DModel", Modality::Audio, "a model of 1-D signals"),
      model("T5FilmDecoder", Modality::Audio, "an audio model"),
      model("LLaDAModelLM", Modality::Text, "a text model"),
      model("DreamModel", Modality::Text, "a text model"),
      model("MDLMForMaskedLM", Modality::Text, "a text model"),
  });
}

TEST(Modality, ThePipelineSaysMoreThanTheClass) {
  // AudioLDM runs Stable Diffusion's UNet over spectrograms.
  expect_all({{{"AudioLDMPipeline", {"UNet2DConditionModel"}, {}, {}},
               Modality::Audio,
               "the pipeline AudioLDMPipeline"}});
}

TEST(Modality, CodeIsToldByAWordOfTheModelsName) {
  expect_all({
      {{"", {"DreamModel"}, {"_name_or_path=apple/DiffuCoder-7B-Instruct"}, {}},
       Modality::Code,
       "comes from DiffuCoder-7B-Instruct"},
      {{"", {"DreamModel"}, {"_name_or_path=\"Dream-org/Dream-Coder-v0-Base-7B\""}, {}},
       Modality::Code,
       "comes from Dream-Coder-v0-Base-7B"},
      {{"", {"DiffuCoder"}, {}, {}}, Modality::Code, "DiffuCoder"},
      {{"", {}, {"model_type=code_mdm", "mask_token_id=4", "vocab_size=999"}, {}},
       Modality::Code,
       "model_type=code_mdm"},
  });
}

TEST(Modality, CodeIsNotSeenInOtherWordsFoldersOrImageModels) {
  expect_all({
      {{"", {"LLaDAModelLM"}, {"_name_or_path=/home/me/code/llada"}, {}}, Modality::Text, "LLaDA"},
      {{"", {"LLaDAModelLM"}, {"_name_or_path=encoder-decoder-codec"}, {}},
       Modality::Text,
       "LLaDA"},
      {{"", {"UNet2DConditionModel"}, {"_name_or_path=code-art"}, {}}, Modality::Image, "UNet2D"},
      {{"", {"T5EncoderModel"}, {}, {}}, std::nullopt, "nothing known among the names"},
      {{"", {"AutoencoderKL", "BertDecoder"}, {"is_encoder_decoder=false"}, {}},
       std::nullopt,
       "AutoencoderKL, BertDecoder"},
  });
}

TEST(Modality, MaskedDiffusionOverAVocabularyIsText) {
  expect_all({
      {{"", {"MyModel"}, {"vocab_size=264", "mask_token_id=256"}, {}},
       Modality::Text,
       "mask_token_id=256 and vocab_size=264"},
      {{"", {}, {"model_type=Dream"}, {}}, Modality::Text, "model_type=Dream"},
      {{"", {}, {"model_type=\"llada\""}, {}}, Modality::Text, "model_type=llada"},
      {{"", {"LlamaForCausalLM"}, {"vocab_size=32000", "mask_token_id=null"}, {}},
       std::nullopt,
       "LlamaForCausalLM"},
      {{"", {"LlamaForCausalLM"}, {"vocab_size=32000"}, {}}, std::nullopt, "1 config values"},
  });
}

TEST(Modality, IsToldByTensorNamesWhereThereIsNoConfig) {
  struct Names {
    std::vector<std::string> tensors;
    Modality modality;
    std::string what;
  };
  const std::vector<Names> rows = {
      {{"double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"},
       Modality::Image,
       "FLUX"},
      {{"model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
        "model.diffusion_model.single_blocks.0.linear1.weight"},
       Modality::Image,
       "FLUX"},
      {{"x_embedder.weight", "single_transformer_blocks.0.proj_out.weight"},
       Modality::Image,
       "FLUX"},
      {{"model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.middle_block.0.in_layers.2.weight",
        "model.diffusion_model.output_blocks.0.0.in_layers.2.weight"},
       Modality::Image,
       "Stable Diffusion's UNet"},
      {{"conv_in.weight", "down_blocks.0.resnets.0.time_emb_proj.weight",
        "up_blocks.0.resnets.0.conv1.weight", "conv_out.weight"},
       Modality::Image,
       "a UNet over images"},
      {{"joint_blocks.0.x_block.attn.qkv.weight", "joint_blocks.0.context_block.attn.qkv.weight"},
       Modality::Image,
       "Stable Diffusion 3"},
      {{"patch_embedding.weight", "time_projection.1.weight", "blocks.0.modulation"},
       Modality::Image,
       "Wan, a video model"},
      {{"patch_embedding.weight", "condition_embedder.time_proj.weight",
        "blocks.0.scale_shift_table"},
       Modality::Image,
       "Wan, a video model"},
      {{"txt_in.individual_token_refiner.blocks.0.self_attn_qkv.weight"},
       Modality::Image,
       "HunyuanVideo"},
      {{"patchify_proj.weight", "adaln_single.linear.weight"},
       Modality::Image,
       "LTX, a video model"},
      {{"pos_embed.proj.weight", "transformer_blocks.0.attn1.to_q.weight"},
       Modality::Image,
       "image patches"},
      {{"img_in.weight", "transformer_blocks.0.img_mod.1.weight"}, Modality::Image, "Qwen-Image"},
      {{"model.model.preprocess_conv.weight", "model.model.postprocess_conv.weight"},
       Modality::Audio,
       "Stable Audio"},
      {{"ema_model.mel_spec.mel_stft.spectrogram.window"}, Modality::Audio, "mel spectrogram"},
      {{"input_projection.weight", "residual_layers.0.diffusion_projection.weight"},
       Modality::Audio,
       "DiffWave or DiffSinger"},
      {{"backbone.vocab_embed.embedding", "backbone.sigma_map.mlp.0.weight",
        "backbone.output_layer.linear.weight"},
       Modality::Text,
       "discrete diffusion"},
  };
  for (const Names& row : rows) {
    expect_all({{{"", {}, {}, row.tensors}, row.modality, row.what}});
  }
}

TEST(Modality, NothingIsGuessedWithoutEvidence) {
  const std::vector<std::vector<std::string>> unknown = {
      {},
      // A language model; that it is a diffusion model, its names do not say.
      {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"},
      {"encoder.0.weight", "decoder.0.weight"},
      // Parts of names do not count.
      {"my_double_blocks.0.img_attn.x", "single_blocks.01.x", "conv_input.weight"},
      // One of several is not enough.
      {"conv_in.weight"},
      {"pos_embed.proj.weight"},
  };
  for (const std::vector<std::string>& names : unknown) {
    expect_all({{{"", {}, {}, names},
                 std::nullopt,
                 "nothing known among the names of " + std::to_string(names.size()) + " tensors"}});
  }
}

}  // namespace
}  // namespace arrow_quant
