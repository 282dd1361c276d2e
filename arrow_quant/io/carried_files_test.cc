#include "arrow_quant/io/carried_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "arrow_quant/io/io_test_util.h"
#include "arrow_quant/io/model_dir.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using Names = std::vector<std::string>;

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

TEST(CarriedFiles, TellsWeightsByTheirNames) {
  for (const char* name :
       {"a.safetensors", "pytorch_model.bin", "m.PT", "m.ckpt", "m.pth", "flax_model.msgpack",
        "tf_model.h5", "m.onnx", "m.gguf", "model.safetensors.index.json",
        "model.safetensors.index.fp16.json", "pytorch_model.bin.index.json"}) {
    EXPECT_TRUE(is_weights_file(name)) << name;
  }
  for (const char* name : {"config.json", "vocab.index.json", "tokenizer.model", "bin", ".bin",
                           "merges.txt", "model.safetensors.md", "index.json"}) {
    EXPECT_FALSE(is_weights_file(name)) << name;
  }
}

TEST(CarriedFiles, OfADirectoryAreAllButItsWeights) {
  const TempDir dir;
  dir.write("config.json", R"({"architectures":["LLaDAModelLM"],"vocab_size":256})");
  dir.write("generation_config.json", "{}");
  dir.write("manifest.json", "something else's");
  dir.write("model-00001-of-00002.safetensors", safetensors_with({"a"}));
  dir.write("model-00002-of-00002.safetensors", safetensors_with({"b"}));
  dir.write("model.safetensors.index.json",
            R"({"weight_map":{"a":"model-00001-of-00002.safetensors",)"
            R"("b":"model-00002-of-00002.safetensors"}})");
  dir.write("original/consolidated.00.PTH", "");
  dir.write("pytorch_model-00001-of-00001.bin", "");
  dir.write("pytorch_model.bin.index.json", "{}");
  dir.write("tokenizer.json", "{}");
  dir.write("vision/config.json", "{}");  // a component of its own, with its weights
  dir.write("vision/model.safetensors", safetensors_with({"v"}));
  const ModelDir model = open_model_dir(dir.path(), {});
  EXPECT_THAT(copied(model), ElementsAre("generation_config.json", "tokenizer.json",
                                         "vision/config.json", "vision/model.safetensors"));
  EXPECT_THAT(
      skipped(model),
      ElementsAre("manifest.json", "model.safetensors.index.json", "original/consolidated.00.PTH",
                  "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"));
}

TEST(CarriedFiles, FollowsLinksAsADownloadCacheMakesThem) {
  const TempDir dir;
  dir.write("blobs/4d7a", safetensors_with({"a"}));
  dir.write("blobs/77ef", "{}");
  dir.write("elsewhere/secret.txt", "");
  const fs::path root = dir / "snapshots";
  fs::create_directories(root / ".git");
  fs::create_directory(root / ".cache");
  fs::create_directory(root / "extra");
  dir.write("snapshots/.git/HEAD", "");
  dir.write("snapshots/.gitattributes", "");
  dir.write("snapshots/extra/file.txt", "");
  fs::create_symlink("../blobs/4d7a", root / "model.safetensors");
  fs::create_symlink("../blobs/77ef", root / "tokenizer.json");
  fs::create_symlink("../blobs/gone", root / "dangling.json");
  fs::create_directory_symlink("../elsewhere", root / "outside");
  fs::create_directory_symlink("extra", root / "inside");
  fs::create_directory_symlink("..", root / "extra/cycle");
  ASSERT_EQ(::mkfifo((root / "pipe").c_str(), 0600), 0);
  const ModelDir model = open_model_dir(root, {});
  EXPECT_EQ(model.components.at(0).shards.at(0).tensors().size(), 1u);
  EXPECT_THAT(copied(model),
              ElementsAre(".gitattributes", "extra/file.txt", "inside/file.txt", "tokenizer.json"));
  EXPECT_THAT(skipped(model), ElementsAre(".cache", ".git", "dangling.json", "extra/cycle",
                                          "inside/cycle", "outside", "pipe"));
  EXPECT_EQ(model.warnings.size(), 5u);  // of all but the tools' directories
}

TEST(CarriedFiles, OfAPipelineAreThoseOfComponentsThatAreLinks) {
  const TempDir dir;
  const fs::path root = dir / "p";
  dir.write("p/model_index.json", R"({"transformer":["diffusers","DiTTransformer2DModel"],)"
                                  R"("vae":["diffusers","AutoencoderKL"],)"
                                  R"("around":["diffusers","X"],"gone":["diffusers","X"]})");
  dir.write("shared/transformer/model.safetensors", safetensors_with({"a"}));
  dir.write("shared/transformer/config.json", "{}");
  dir.write("shared/transformer/notes.txt", "");
  dir.write("shared/vae/config.json", "{}");
  dir.write("shared/vae/model.safetensors", safetensors_with({"v"}));
  dir.write("shared/vae/sub/x.json", "{}");
  dir.write("other/secret.txt", "");
  for (const char* name : {"transformer", "vae"}) {
    fs::create_directory_symlink(fs::path("../shared") / name, root / name);
  }
  fs::create_directory_symlink("../other", root / "other");  // no component
  fs::create_directory_symlink("../..", dir / "shared/vae/around");
  fs::create_directory_symlink(".", dir / "shared/vae/itself");
  fs::create_directory_symlink("sub", dir / "shared/vae/inside");
  fs::create_directory_symlink("../../other", dir / "shared/vae/outside");
  fs::create_directory_symlink("..", root / "around");
  fs::create_directory_symlink("../nowhere", root / "gone");
  const ModelDir model = open_model_dir(root, {});
  EXPECT_THAT(copied(model),
              ElementsAre("model_index.json", "transformer/notes.txt", "vae/config.json",
                          "vae/inside/x.json", "vae/model.safetensors", "vae/sub/x.json"));
  EXPECT_THAT(skipped(model),
              ElementsAre("around", "gone", "other", "vae/around", "vae/itself", "vae/outside"));
  ASSERT_EQ(model.warnings.size(), 6u);
  EXPECT_EQ(model.warnings[0],
            "around is not copied: a link to a directory that contains the link; put its files "
            "where the link is if the model needs them");
  EXPECT_EQ(model.warnings[1], "gone is not copied: a link to what is not there; fetch it");
}

}  // namespace
}  // namespace arrow_quant
