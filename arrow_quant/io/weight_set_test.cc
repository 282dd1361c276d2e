#include "arrow_quant/io/weight_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Names = std::vector<std::string>;

TEST(WeightFileName, TellsBaseVariantAndShard) {
  const struct {
    const char *file, *base, *variant;
    int shard, num_shards;
    bool is_index;
  } cases[] = {
      {"model.safetensors", "model", "", 0, 0, false},
      {"model.fp16.safetensors", "model", "fp16", 0, 0, false},
      {"diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model", "non_ema", 0, 0,
       false},
      {"model-00002-of-00003.safetensors", "model", "", 2, 3, false},
      {"model.fp16-00001-of-00002.safetensors", "model", "fp16", 1, 2, false},
      {"model-00001-of-00002.fp16.safetensors", "model", "fp16", 1, 2, false},
      {"model.safetensors.index.json", "model", "", 0, 0, true},
      {"model.safetensors.index.fp16.json", "model", "fp16", 0, 0, true},
      {"model.fp16.safetensors.index.json", "model", "fp16", 0, 0, true},
      // Numbers after a dot are versions, not variants.
      {"sd_xl_base_1.0.safetensors", "sd_xl_base_1.0", "", 0, 0, false},
      {"wan2.1_t2v-1.3B.safetensors", "wan2.1_t2v-1.3B", "", 0, 0, false},
      {"model-1-of-0.safetensors", "model-1-of-0", "", 0, 0, false},
      {"model-0001-of-9999999999.safetensors", "model-0001-of-9999999999", "", 0, 0, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.file);
    const auto name = parse_weight_file_name(c.file);
    ASSERT_TRUE(name.has_value());
    EXPECT_EQ(name->base, c.base);
    EXPECT_EQ(name->variant, c.variant);
    EXPECT_EQ(name->shard, c.shard);
    EXPECT_EQ(name->num_shards, c.num_shards);
    EXPECT_EQ(name->is_index, c.is_index);
  }
  for (const char* other : {"model.bin", "config.json", ".safetensors", "model.safetensors.tmp",
                            "pytorch_model.bin.index.json", "safetensors"}) {
    EXPECT_FALSE(parse_weight_file_name(other).has_value()) << other;
  }
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& weight_map) {
  std::string text = R"({"metadata":{"total_size":1},"weight_map":{)";
  for (size_t i = 0; i < weight_map.size(); ++i) {
    text += (i == 0 ? "\"" : ",\"") + weight_map[i].first + "\":\"" + weight_map[i].second + "\"";
  }
  return text + "}}";
}

struct Choice {
  const char* what;
  Names files;  // an index names x.safetensors and y.safetensors
  std::optional<std::string> variant;
  Names chosen;
};

TEST(WeightSet, IsChosenByName) {
  const Names shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
  const Names fp16_shards = {"model.fp16-00001-of-00002.safetensors",
                             "model.fp16-00002-of-00002.safetensors"};
  const Choice cases[] = {
      {"one file of any name",
       {"flux1-dev.safetensors", "config.json"},
       {},
       {"flux1-dev.safetensors"}},
      {"shards without an index", shards, {}, shards},
      {"one shard of one",
       {"model-00001-of-00001.safetensors"},
       {},
       {"model-00001-of-00001.safetensors"}},
      {"plain beside a variant",
       {"model.safetensors", "model.fp16.safetensors"},
       {},
       {"model.safetensors"}},
      {"a variant that is asked for",
       {"model.safetensors", "model.fp16.safetensors"},
       "fp16",
       {"model.fp16.safetensors"}},
      {"plain files that are asked for",
       {"model.safetensors", "model.fp16.safetensors"},
       "",
       {"model.safetensors"}},
      {"the only variant", {"model.fp16.safetensors"}, {}, {"model.fp16.safetensors"}},
      {"a sharded variant",
       {"model.safetensors", fp16_shards[0], fp16_shards[1]},
       "fp16",
       fp16_shards},
      {"a sharded variant in the other spelling",
       {"model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"},
       "fp16",
       {"model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"}},
      {"the usual name beside others",
       {"model.safetensors", "consolidated.safetensors", "adapter_model.safetensors"},
       {},
       {"model.safetensors"}},
      {"the usual name of diffusers before that of transformers",
       {"model.safetensors", "diffusion_pytorch_model.safetensors"},
       {},
       {"diffusion_pytorch_model.safetensors"}},
      {"an index that names files of other names",
       {"w.safetensors.index.json", "x.safetensors", "y.safetensors"},
       {},
       {"x.safetensors", "y.safetensors"}},
      {"the index of a variant",
       {"model.safetensors.index.fp16.json", "x.safetensors", "y.safetensors", "model.safetensors"},
       "fp16",
       {"x.safetensors", "y.safetensors"}},
      {"shards of other weights beside an index",
       {"model.safetensors.index.json", "x.safetensors", "y.safetensors",
        "other-00001-of-00002.safetensors", fp16_shards[0]},
       {},
       {"x.safetensors", "y.safetensors"}},
      {"nine digits are no shards, but a name",
       {"model-000000001-of-000000009.safetensors"},
       {},
       {"model-000000001-of-000000009.safetensors"}},
  };
  for (const Choice& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    for (const std::string& file : c.files) {
      dir.write(file, index_of({{"t", "x.safetensors"}, {"u", "y.safetensors"}}));
    }
    const auto set = find_weight_set(dir.path(), c.variant);
    ASSERT_TRUE(set.has_value());
    EXPECT_EQ(set->files, c.chosen);
  }
  const TempDir empty;
  empty.write("model.bin", "");
  std::filesystem::create_directory(empty / "directory.safetensors");
  EXPECT_FALSE(find_weight_set(empty.path(), {}).has_value());
}

TEST(WeightSet, SaysWhyNoneCanBeChosen) {
  const struct {
    const char* what;
    Names files;
    std::optional<std::string> variant;
    ErrorCode code;
    const char* message;
  } cases[] = {
      {"unrelated files",
       {"b.safetensors", "a.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "several files could be the model: a.safetensors, b.safetensors; pass the path of one"},
      {"a variant that is not there",
       {"model.safetensors", "model.fp16.safetensors"},
       "bf16",
       ErrorCode::Configuration,
       "no variant \"bf16\" of the weights; set variant to one of: '' (the plain files), "
       "fp16"},
      {"plain files that are not there",
       {"model.fp16.safetensors"},
       "",
       ErrorCode::Configuration,
       "no variant \"\" of the weights; set variant to one of: fp16"},
      {"only variants",
       {"model.fp16.safetensors", "model.ema.safetensors"},
       {},
       ErrorCode::Configuration,
       "only variants of the weights, and no plain files; set variant to "
       "one of: ema, fp16"},
      {"a missing shard",
       {"model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "1 of 3 shards are missing: model-00002-of-00003.safetensors; fetch the missing files"},
      {"a missing shard of a variant",
       {"model-2-of-2.fp16.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "missing: model-1-of-2.fp16.safetensors"},
      {"very many missing shards",
       {"model-000001-of-999999.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "999998 of 999999 shards are missing: "
       "model-000002-of-999999.safetensors, model-000003-of-999999.safetensors"},
      {"shards of two sets",
       {"model-00001-of-00001.safetensors", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "shards of different sets stand side by side"},
      {"a shard past the last",
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model-00003-of-00002.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "model-00003-of-00002.safetensors: shards are counted from 1 to 2"},
      {"a shard 0",
       {"model-00000-of-00001.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "shards are counted from 1 to 1"},
      {"a shard in two spellings",
       {"model-1-of-1.fp16.safetensors", "model.fp16-1-of-1.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "hold the same part of the weights; remove one of them"},
      {"a whole file beside its shards",
       {"model.safetensors", "model-00001-of-00001.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "both model.safetensors and shards of it stand here"},
      {"a whole file beside an index",
       {"model.safetensors", "model.safetensors.index.json", "x.safetensors", "y.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "both model.safetensors and shards of it"},
      {"an index without its files",
       {"model.safetensors.index.json", "x.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "names files that are not there: y.safetensors; fetch them"},
      {"a shard that the index does not name",
       {"model.safetensors.index.json", "x.safetensors", "y.safetensors",
        "model-00002-of-00003.safetensors"},
       {},
       ErrorCode::InvalidModel,
       "model.safetensors.index.json: does not name model-00002-of-00003.safetensors, which "
       "stands beside it; fetch the index again"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    for (const std::string& file : c.files) {
      dir.write(file, index_of({{"t", "x.safetensors"}, {"u", "y.safetensors"}}));
    }
    const auto error = error_of([&] { find_weight_set(dir.path(), c.variant); });
    if (error) {
      EXPECT_EQ(error->code(), c.code);
      EXPECT_THAT(error->what(), HasSubstr(c.message));
    }
  }
}

TEST(WeightSet, HasAllShardsOfTheNamesThatItsIndexUses) {
  const char* shards[] = {"w-1-of-3.safetensors", "w-2-of-3.safetensors", "w-3-of-3.safetensors"};
  const TempDir dir;
  dir.write(shards[0], safetensors_with({"a"}));
  dir.write(shards[2], safetensors_with({"c"}));
  const std::string problem = "names 2 of the 3 shards of w; fetch the index and the shards again";
  for (const bool there : {false, true}) {
    SCOPED_TRACE(there);
    if (there) {
      dir.write(shards[1], safetensors_with({"b"}));
    }
    for (const char* index : {"w.safetensors.index.json", "model.safetensors.index.json"}) {
      SCOPED_TRACE(index);
      dir.write(index, index_of({{"a", shards[0]}, {"c", shards[2]}}));
      const auto error = error_of([&] { find_weight_set(dir.path(), {}); });
      if (error) {
        EXPECT_EQ(error->code(), ErrorCode::InvalidModel);
        EXPECT_THAT(error->what(),
                    HasSubstr(there && index[0] == 'w' ? "does not name w-2-of-3.safetensors, which"
                                                       : problem));
      }
      std::filesystem::remove(dir / index);
    }
  }
}

TEST(WeightSet, OpensItsFilesInTheOrderOfTheirNames) {
  const TempDir dir;
  dir.write("model-00002-of-00002.safetensors", safetensors_with({"a"}));
  dir.write("model-00001-of-00002.safetensors", safetensors_with({"c", "b"}));
  dir.write("model.safetensors.index.json", index_of({{"a", "model-00002-of-00002.safetensors"},
                                                      {"b", "model-00001-of-00002.safetensors"},
                                                      {"c", "model-00001-of-00002.safetensors"}}));
  const auto set = find_weight_set(dir.path(), {});
  Names names;
  for (const SafetensorsFile& file : open_weight_set(dir.path(), *set)) {
    for (const TensorInfo& info : file.tensors()) {
      names.push_back(file.path().filename().string() + ":" + info.name);
    }
  }
  EXPECT_THAT(
      names, ElementsAre("model-00001-of-00002.safetensors:c", "model-00001-of-00002.safetensors:b",
                         "model-00002-of-00002.safetensors:a"));
}

TEST(WeightSet, RefusesFilesThatContradictEachOther) {
  const struct {
    const char* what;
    std::string index;  // "" for none
    const char* message;
  } cases[] = {
      {"a tensor in two files", "", "tensor \"b\" stands in both x-1-of-2.safetensors and"},
      {"a tensor in another file",
       index_of({{"a", "y.safetensors"}, {"b", "x.safetensors"}, {"c", "y.safetensors"}}),
       "tensor \"a\" is said to be in y.safetensors, but is in x.safetensors"},
      {"a tensor in no file",
       index_of({{"a", "x.safetensors"},
                 {"b", "x.safetensors"},
                 {"c", "y.safetensors"},
                 {"d", "y.safetensors"}}),
       "tensor \"d\" is said to be in y.safetensors, but is in no file"},
      {"a tensor that the index leaves out",
       index_of({{"a", "x.safetensors"}, {"c", "y.safetensors"}}),
       "tensor \"b\" of x.safetensors is not in the weight_map"},
      {"a path above", index_of({{"a", "../x.safetensors"}}),
       "tensor \"a\" is said to be in \"../x.safetensors\"; only names of .safetensors files in "
       "the same directory are allowed"},
      {"an absolute path", index_of({{"a", "/etc/x.safetensors"}}), "only names of"},
      {"a path below", index_of({{"a", "sub/x.safetensors"}}), "only names of"},
      {"a pickle", index_of({{"a", "x.bin"}}), "only names of .safetensors files"},
      {"a number for a file", R"({"weight_map":{"a":1}})", "the file of tensor \"a\" is of type"},
      {"an empty map", R"({"weight_map":{}})", "\"weight_map\" is empty"},
      {"no map", "{}", "\"weight_map\" is missing"},
      {"a tensor in two places",
       index_of({{"a", "x.safetensors"}, {"b", "x.safetensors"}, {"b", "y.safetensors"}}),
       "model.safetensors.index.json: the key \"b\" stands twice; correct it or fetch it again"},
      {"two maps", R"({"weight_map":{"a":"y.safetensors"},"weight_map":{"a":"x.safetensors"}})",
       "the key \"weight_map\" stands twice"},
      {"a list", "[]",
       "a JSON object is expected, this is of type array; correct it or fetch it again"},
      {"half a file", R"({"weight_map":{"a":)", "not valid JSON: parse error at line 1, column"},
      {"a NUL", std::string("{}\0", 3), "byte 2 is 0"},
      {"deep nesting", R"({"weight_map":)" + std::string(100'000, '['),
       "nested more than 128 levels deep"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    const bool indexed = !c.index.empty();
    dir.write(indexed ? "x.safetensors" : "x-1-of-2.safetensors", safetensors_with({"a", "b"}));
    dir.write(indexed ? "y.safetensors" : "x-2-of-2.safetensors",
              safetensors_with({indexed ? "c" : "b"}));
    if (indexed) {
      dir.write("model.safetensors.index.json", c.index);
    }
    const auto error =
        error_of([&] { open_weight_set(dir.path(), *find_weight_set(dir.path(), {})); });
    if (error) {
      EXPECT_EQ(error->code(), ErrorCode::InvalidModel);
      EXPECT_THAT(error->what(), HasSubstr(c.message));
    }
  }
}

}  // namespace
}  // namespace arrow_quant
