#include "arrow_quant/io/model_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Names = std::vector<std::string>;

Names component_names(const ModelDir& model) {
  Names names;
  for (const ModelComponent& component : model.components) {
    names.push_back(component.name);
  }
  return names;
}

Names copied(const ModelDir& model) {
  Names names;
  for (const fs::path& path : model.copied) {
    names.push_back(path.string());
  }
  return names;
}

Names skipped(const ModelDir& model) {
  Names names;
  for (const SkippedFile& file : model.skipped) {
    names.push_back(file.path.string());
    EXPECT_FALSE(file.reason.empty());
  }
  return names;
}

constexpr const char* kPipeline = R"({
  "_class_name": "StableDiffusion3Pipeline", "_diffusers_version": "0.30.0",
  "requires_safety_checker": true, "feature_extractor": [null, null],
  "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
  "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
  "transformer": ["diffusers", "SD3Transformer2DModel"],
  "vae": ["diffusers", "AutoencoderKL"]})";

// A pipeline as it is downloaded, with the same weights in several serializations.
void write_pipeline(const TempDir& dir) {
  dir.write("model_index.json", kPipeline);
  dir.write("README.md", "");
  dir.write("sd3_medium.safetensors", "the whole pipeline in one file");
  dir.write("scheduler/scheduler_config.json", "{}");
  dir.write("text_encoder/config.json", R"({"architectures":["CLIPTextModelWithProjection"]})");
  dir.write("text_encoder/model.safetensors", safetensors_with({"t"}));
  dir.write("text_encoder/model.fp16.safetensors", safetensors_with({"t"}));
  dir.write("text_encoder/pytorch_model.bin", "");
  dir.write("transformer/config.json", R"({"_class_name":"SD3Transformer2DModel","n":1})");
  dir.write("transformer/diffusion_pytorch_model.safetensors", safetensors_with({"a", "b"}));
  dir.write("transformer/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
            safetensors_with({"a", "b"}));
  dir.write("transformer/diffusion_pytorch_model.safetensors.index.fp16.json",
            R"({"weight_map":{"a":"diffusion_pytorch_model.fp16-00001-of-00001.safetensors",)"
            R"("b":"diffusion_pytorch_model.fp16-00001-of-00001.safetensors"}})");
  dir.write("transformer/diffusion_pytorch_model.bin", "");
  dir.write("transformer/diffusion_flax_model.msgpack", "");
  dir.write("transformer/openvino/model.onnx", "");
  dir.write("transformer/notes.txt", "");
  dir.write("vae/diffusion_pytorch_model.safetensors", safetensors_with({"v"}));
}

TEST(ModelDir, SplitsAPipelineIntoQuantizedCopiedAndSkipped) {
  const TempDir dir;
  write_pipeline(dir);
  const ModelDir model = open_model_dir(dir.path(), {});
  EXPECT_EQ(model.layout, ModelLayout::DiffusersPipeline);
  EXPECT_EQ(model.pipeline_class, "StableDiffusion3Pipeline");
  ASSERT_THAT(component_names(model), ElementsAre("transformer"));
  const ModelComponent& transformer = model.components[0];
  EXPECT_EQ(transformer.subdir, "transformer");
  EXPECT_EQ(transformer.class_name, "SD3Transformer2DModel");
  EXPECT_EQ(transformer.config_json, R"({"_class_name":"SD3Transformer2DModel","n":1})");
  ASSERT_EQ(transformer.shards.size(), 1u);
  EXPECT_EQ(transformer.shards[0].path(), dir / "transformer/diffusion_pytorch_model.safetensors");
  EXPECT_THAT(copied(model),
              ElementsAre("README.md", "model_index.json", "scheduler/scheduler_config.json",
                          "text_encoder/config.json", "text_encoder/model.fp16.safetensors",
                          "text_encoder/model.safetensors", "text_encoder/pytorch_model.bin",
                          "transformer/notes.txt", "vae/diffusion_pytorch_model.safetensors"));
  EXPECT_THAT(skipped(model),
              ElementsAre("sd3_medium.safetensors", "transformer/diffusion_flax_model.msgpack",
                          "transformer/diffusion_pytorch_model.bin",
                          "transformer/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
                          "transformer/diffusion_pytorch_model.safetensors.index.fp16.json",
                          "transformer/openvino/model.onnx"));
}

TEST(ModelDir, TakesTheAskedComponentsAndVariant) {
  const TempDir dir;
  write_pipeline(dir);
  const ModelDir both = open_model_dir(dir.path(), {.components = {"transformer", "text_encoder"}});
  EXPECT_THAT(component_names(both), ElementsAre("text_encoder", "transformer"));
  EXPECT_EQ(both.components[0].class_name, "CLIPTextModelWithProjection");

  const ModelDir vae = open_model_dir(dir.path(), {.components = {"vae"}});
  EXPECT_EQ(vae.components.at(0).class_name, "AutoencoderKL");  // of model_index.json
  EXPECT_EQ(vae.components.at(0).config_json, "");
  EXPECT_THAT(copied(vae), testing::Contains("transformer/diffusion_pytorch_model.bin"));

  const ModelDir all = open_model_dir(dir.path(), {.all_components = true});
  EXPECT_THAT(component_names(all), ElementsAre("text_encoder", "transformer", "vae"));

  const ModelDir fp16 = open_model_dir(dir.path(), {.variant = "fp16"});
  EXPECT_EQ(fp16.components.at(0).shards.at(0).path().filename(),
            "diffusion_pytorch_model.fp16-00001-of-00001.safetensors");
  EXPECT_THAT(skipped(fp16), testing::Contains("transformer/diffusion_pytorch_model.safetensors"));
}

TEST(ModelDir, RecognizesDenoisers) {
  const struct {
    const char *component, *library, *class_name;
    bool is_denoiser;
  } cases[] = {
      {"unet", "diffusers", "UNet2DConditionModel", true},
      {"transformer_2", "diffusers", "WanTransformer3DModel", true},
      {"transformer", "my_models", "Whatever", true},
      {"prior", "diffusers", "WuerstchenPrior", true},
      {"prior_prior", "diffusers", "PriorTransformer", true},
      {"decoder", "stable_cascade", "StableCascadeUNet", true},
      {"model", "diffusers", "StableAudioDiTModel", true},
      {"controlnet", "diffusers", "HunyuanDiT2DControlNetModel", false},
      {"motion_adapter", "diffusers", "MotionAdapter", false},
      {"text_encoder", "transformers", "TransformerXLModel", false},
      {"vae", "diffusers", "AutoencoderKL", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.component);
    const TempDir dir;
    dir.write("model_index.json", std::string("{\"") + c.component + "\":[\"" + c.library +
                                      "\",\"" + c.class_name + "\"]}");
    dir.write(std::string(c.component) + "/model.safetensors", safetensors_with({"a"}));
    if (c.is_denoiser) {
      EXPECT_THAT(component_names(open_model_dir(dir.path(), {})), ElementsAre(c.component));
    } else {
      const auto error = error_of([&] { open_model_dir(dir.path(), {}); });
      EXPECT_EQ(error->code(), ErrorCode::ModelNotFound);
      EXPECT_THAT(error->what(), AllOf(HasSubstr("set components"),
                                       HasSubstr(std::string("out of ") + c.component)));
    }
  }
}

TEST(ModelDir, OpensASingleFile) {
  const TempDir dir;
  const auto path = dir.write("flux.safetensors", safetensors_with({"a", "b"}));
  dir.write("config.json", "{}");
  const ModelDir model = open_model_dir(path, {});
  EXPECT_EQ(model.layout, ModelLayout::SingleFile);
  EXPECT_EQ(model.root, path);
  ASSERT_THAT(component_names(model), ElementsAre(""));
  EXPECT_EQ(model.components[0].shards.at(0).tensors().size(), 2u);
  EXPECT_THAT(model.copied, IsEmpty());
  EXPECT_THAT(model.skipped, IsEmpty());
}

TEST(ModelDir, OpensATransformersDirectory) {
  const TempDir dir;
  dir.write("config.json", R"({"architectures":["LLaDAModelLM"],"vocab_size":256})");
  dir.write("model-00001-of-00002.safetensors", safetensors_with({"a"}));
  dir.write("model-00002-of-00002.safetensors", safetensors_with({"b"}));
  const ModelDir model = open_model_dir(dir.path(), {});
  EXPECT_EQ(model.layout, ModelLayout::Directory);
  EXPECT_EQ(model.pipeline_class, "");
  ASSERT_THAT(component_names(model), ElementsAre(""));
  EXPECT_EQ(model.components[0].subdir, "");
  EXPECT_EQ(model.components[0].class_name, "LLaDAModelLM");
  EXPECT_EQ(model.components[0].shards.size(), 2u);
}

struct Refused {
  const char* what;
  std::vector<std::pair<std::string, std::string>> files;
  std::string path;  // within the directory
  ModelDirOptions options;
  ErrorCode code;
  std::vector<std::string> messages;
};

TEST(ModelDir, SaysWhyThereIsNoModelAndWhatToDo) {
  const std::string weights = safetensors_with({"a"});
  const Refused cases[] = {
      {"nothing",
       {},
       "absent",
       {},
       ErrorCode::ModelNotFound,
       {"there is no such file", "a model is"}},
      {"a path below a file", {{"f", ""}}, "f/g", {}, ErrorCode::ModelNotFound, {"no such file"}},
      {"an empty directory",
       {{"d/e/x", ""}},
       "d",
       {},
       ErrorCode::ModelNotFound,
       {"there is no .safetensors file; a model is"}},
      {"pickles",
       {{"d/pytorch_model.bin", ""}, {"d/config.json", "{}"}},
       "d",
       {},
       ErrorCode::ModelNotFound,
       {"only pytorch_model.bin",
        "save_file(torch.load(\"pytorch_model.bin\", weights_only=True), "
        "\"pytorch_model.safetensors\")",
        "safe_serialization=True"}},
      {"a pickle itself",
       {{"model.ckpt", ""}},
       "model.ckpt",
       {},
       ErrorCode::ModelNotFound,
       {"not a safetensors file", "torch.load(\"model.ckpt\""}},
      {"pickles in a component",
       {{"model_index.json", R"({"unet":["diffusers","UNet2DModel"]})"}, {"unet/m.pt", ""}},
       "",
       {},
       ErrorCode::ModelNotFound,
       {"/unet: ", "only m.pt", "torch.load"}},
      {"a finished output",
       {{"d/manifest.json", "{}"}, {"d/quantized-1.parquet", ""}},
       "d",
       {},
       ErrorCode::ModelNotFound,
       {"already quantized; pass the original model"}},
      {"components without model_index.json",
       {{"unet/m.safetensors", weights}, {"vae/m.safetensors", weights}, {"x/y", ""}},
       "",
       {},
       ErrorCode::ModelNotFound,
       {"weights in unet, vae; pass one of these directories"}},
      {"another file",
       {{"model.onnx", ""}},
       "model.onnx",
       {},
       ErrorCode::ModelNotFound,
       {"not a .safetensors file; a model is"}},
      {"an index",
       {{"m.safetensors.index.json", ""}},
       "m.safetensors.index.json",
       {},
       ErrorCode::ModelNotFound,
       {"pass its directory"}},
      {"one shard of two",
       {{"m-1-of-2.safetensors", weights}},
       "m-1-of-2.safetensors",
       {},
       ErrorCode::InvalidModel,
       {"this is shard 1 of 2; pass the directory"}},
      {"a broken file",
       {{"m.safetensors", "x"}},
       "m.safetensors",
       {},
       ErrorCode::InvalidModel,
       {"1 bytes are fewer"}},
      {"a component of a file",
       {{"m.safetensors", weights}},
       "m.safetensors",
       {{"unet"}, {}},
       ErrorCode::Configuration,
       {"components is unet", "leave components empty"}},
      {"a component of a directory",
       {{"m.safetensors", weights}},
       "",
       {{"unet"}, {}},
       ErrorCode::Configuration,
       {"components is unet", "leave components empty"}},
      {"a component that is not there",
       {{"model_index.json", kPipeline}, {"vae/m.safetensors", weights}, {"scheduler/c.json", ""}},
       "",
       {{"scheduler"}, {}},
       ErrorCode::Configuration,
       {"no component \"scheduler\" with weights; those that have are vae"}},
      {"a variant that is not there",
       {{"d/model.safetensors", weights}},
       "d",
       {.variant = "fp16"},
       ErrorCode::Configuration,
       {"no variant \"fp16\""}},
      {"a listed denoiser without its directory",
       {{"model_index.json", kPipeline}},
       "",
       {},
       ErrorCode::InvalidModel,
       {"lists component \"transformer\", but its directory is missing"}},
      {"a pipeline without components",
       {{"model_index.json", "{}"}},
       "",
       {},
       ErrorCode::ModelNotFound,
       {"none of the components that model_index.json names has weights", "fetch the model again"}},
      {"half a model_index.json",
       {{"model_index.json", "{\"unet\":"}},
       "",
       {},
       ErrorCode::InvalidModel,
       {"model_index.json: not valid JSON: parse error at line 1, column 9"}},
      {"a model_index.json that is a list",
       {{"model_index.json", "[]"}},
       "",
       {},
       ErrorCode::InvalidModel,
       {"a JSON object is expected, this is of type array"}},
      {"a component that leads elsewhere",
       {{"model_index.json", R"({"../unet":["diffusers","UNet2DModel"]})"}},
       "",
       {},
       ErrorCode::InvalidModel,
       {"component \"../unet\" is not the name of a directory"}},
      {"a broken config.json",
       {{"d/config.json", "{'a':1}"}, {"d/m.safetensors", weights}},
       "d",
       {},
       ErrorCode::InvalidModel,
       {"config.json: not valid JSON"}},
      {"a config.json that is a list",
       {{"d/config.json", "[]"}, {"d/m.safetensors", weights}},
       "d",
       {},
       ErrorCode::InvalidModel,
       {"config.json: a JSON object is expected"}},
  };
  for (const Refused& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    for (const auto& [name, bytes] : c.files) {
      dir.write(name, bytes);
    }
    const auto error = error_of([&] { open_model_dir(dir / c.path, c.options); });
    if (error) {
      EXPECT_EQ(error->code(), c.code) << error->what();
      EXPECT_THAT(error->what(), HasSubstr(dir.path().string()));
      for (const std::string& message : c.messages) {
        EXPECT_THAT(error->what(), HasSubstr(message));
      }
    }
  }
}

TEST(ModelDir, HasAName) {
  const auto error = error_of([] { open_model_dir("", {}); });
  EXPECT_EQ(error->code(), ErrorCode::ModelNotFound);
  EXPECT_THAT(error->what(),
              HasSubstr("the model's path is empty; a model is a .safetensors file"));
}

TEST(ModelDir, ReportsWhatTheSystemRefuses) {
  const TempDir dir;
  dir.write("d/m.safetensors", safetensors_with({"a"}));
  fs::create_symlink("loop", dir / "loop");
  EXPECT_EQ(error_of([&] { open_model_dir(dir / "loop", {}); })->os_errno(), ELOOP);
  const fs::path long_name = dir / std::string(300, 'x');
  EXPECT_EQ(error_of([&] { open_model_dir(long_name, {}); })->os_errno(), ENAMETOOLONG);

  constexpr uid_t kNobody = 65534;
  const bool is_root = ::geteuid() == 0;  // who may read everything
  fs::permissions(dir / "d", fs::perms::none);
  if (is_root && ::seteuid(kNobody) != 0) {
    GTEST_SKIP() << "root can neither be refused nor become somebody else here";
  }
  const auto error = error_of([&] { open_model_dir(dir / "d", {}); });
  ASSERT_TRUE(!is_root || ::seteuid(0) == 0);
  fs::permissions(dir / "d", fs::perms::owner_all);
  EXPECT_EQ(error->code(), ErrorCode::Io);
  EXPECT_EQ(error->os_errno(), EACCES);
}

}  // namespace
}  // namespace arrow_quant
