#include "arrow_quant/pipeline/revise_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/part_test_util.h"
#include "arrow_quant/pipeline/output_dir.h"
#include "arrow_quant/pipeline/quantized_model.h"

namespace arrow_quant {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// Relative path → contents of every file below `root`.
std::map<std::string, std::string> read_tree(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) {
      const auto bytes = read_file(entry.path());
      files[entry.path().lexically_relative(root).string()] = {bytes.begin(), bytes.end()};
    }
  }
  return files;
}

TimeGroups three_groups() {
  return {"timestep", "linear betas", {900, 500, 100}, {-4, 0, 4}, {700, 300}, {-2, 2}, "", 0};
}

// A model of two components, one of which has a tensor of two blocks with every transform.
class ReviseModel : public testing::Test {
 protected:
  ReviseModel() {
    Manifest manifest;
    manifest.modality = "image";
    manifest.components.push_back(write_component("transformer"));
    manifest.components.push_back(write_component("vae"));
    write_text(model_ / "model_index.json", "{}");
    write_text(model_ / kManifestName, to_json(manifest));
  }

  static std::vector<QuantizedBlock> blocks() {
    std::vector<QuantizedBlock> blocks;
    for (int i = 0; i < 2; ++i) {
      QuantizedBlock block = quantized_block("w", {4, 192}, 4, 64);
      block.header.shape = {8, 192};
      block.header.block_index = i;
      block.header.row_start = 4 * i;
      add_hadamard(block, 64);
      add_low_rank(block, 3);
      add_input_scale(block);
      blocks.push_back(std::move(block));
    }
    blocks.push_back(quantized_block("plain", {6, 64}, 8, 32));
    for (const char* name : {"a.bias", "b.bias"}) {
      blocks.push_back(kept_block(name, {6}, DType::F32));
    }
    return blocks;
  }

  ComponentRecord write_component(const std::string& name) const {
    ComponentRecord component;
    component.name = component.subdir = name;
    fs::create_directories(model_ / name);
    auto content = blocks();
    for (QuantizedBlock& block : content) block.header.component = name;
    PartRecord part;
    part.file.path = name + "/quantized.parquet";
    const PartInfo info = write_part(model_ / part.file.path, content, {{"note", "kept"}});
    part.file.size_bytes = info.size_bytes;
    part.file.xxh3_128 = info.xxh3_128;
    for (size_t i = 0; i < content.size(); ++i) {
      const BlockHeader& header = content[i].header;
      if (header.block_index == 0) {
        LayerReport report;
        report.name = header.layer_name;
        report.shape = header.shape;
        report.dtype = to_string(header.dtype);
        report.quant_type = header.quant_type();
        report.bit_width = header.bit_width;
        report.group_size = header.group_size;
        report.extras = layer_extras(header.extras);
        part.tensors.push_back({report, 0, {}});
      }
      TensorRecord& tensor = part.tensors.back();
      tensor.report.num_params += header.num_params;
      tensor.report.stored_bytes += info.blocks[i].stored_bytes;
      tensor.blocks.push_back({info.blocks[i].row_group, info.blocks[i].row});
    }
    component.parts.push_back(std::move(part));
    return component;
  }

  // Three groups; a bias for each in "w", activation parameters for all in "plain".
  static Revision revision() {
    Revision revision;
    revision.component = "transformer";
    revision.time_groups = three_groups();
    revision.bias_corrections["w"] = {3, made_up_words(3 * 8, 0x2800)};
    revision.activations["plain"] = {8, ActMode::Dynamic, {{0.9f, 1, 0}}};
    return revision;
  }

  static void expect_revised(const fs::path& path) {
    const QuantizedModel model = QuantizedModel::open(path);
    const int64_t w = model.find("transformer/w"), plain = model.find("transformer/plain");
    EXPECT_EQ(model.extras(w).bias_corrections, made_up_words(3 * 8, 0x2800));
    EXPECT_EQ(model.read_block(w, 1).header.extras.bias_groups, 3);
    EXPECT_EQ(model.extras(plain).act, (std::vector<ActivationRange>{{0.9f, 1, 0}}));
    ASSERT_NE(model.time_groups("transformer"), nullptr);
    EXPECT_EQ(*model.time_groups("transformer"), three_groups());
    EXPECT_EQ(model.time_groups("vae"), nullptr);
    for (const ComponentRecord& component : model.manifest().components) {
      EXPECT_TRUE(stands(component.parts[0].file, path, nullptr));
    }
  }

  const TemporaryDirectory directory_;
  const fs::path model_ = directory_.path() / "model";
  const fs::path out_ = directory_.path() / "out";
};

TEST_F(ReviseModel, ValuesAreSetAndCodesStay) {
  const auto before = read_tree(model_);
  revise_model(model_, revision(), out_);
  EXPECT_EQ(read_tree(model_), before);
  expect_revised(out_);
  const QuantizedModel old = QuantizedModel::open(model_), now = QuantizedModel::open(out_);
  ASSERT_EQ(old.tensors().size(), now.tensors().size());
  for (size_t i = 0; i < old.tensors().size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    const DType dtype = *parse_dtype(old.tensors()[i].dtype);
    const Buffer a = old.dequantize(index, dtype), b = now.dequantize(index, dtype);
    EXPECT_TRUE(std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin()));
  }
  EXPECT_EQ(required_features(now.manifest().components),
            (std::vector<std::string>{"activation_quantization", "bias_corrections", "hadamard",
                                      "input_scale", "low_rank"}));
  EXPECT_EQ(read_tree(out_)["model_index.json"], "{}");
  EXPECT_EQ(read_tree(out_)["vae/quantized.parquet"], read_tree(model_)["vae/quantized.parquet"]);
}

TEST_F(ReviseModel, CorrectionsCountAmongStoredBytesAndBitsPerWeight) {
  revise_model(model_, revision(), out_);
  const QuantizedModel old = QuantizedModel::open(model_), now = QuantizedModel::open(out_);
  const auto stored = [](const QuantizedModel& model, const char* name) {
    return model.tensors()[static_cast<size_t>(model.find(name))].stored_bytes;
  };
  // Two blocks with a page of corrections each, of 3 · 4 half-precision numbers.
  EXPECT_GE(stored(now, "transformer/w"), stored(old, "transformer/w") + 2 * 24);
  EXPECT_LE(stored(now, "transformer/w"), stored(old, "transformer/w") + 2 * (24 + 40));
  EXPECT_GT(stored(now, "transformer/plain"), stored(old, "transformer/plain") + 12);
  EXPECT_EQ(stored(now, "vae/w"), stored(old, "vae/w"));
}

TEST_F(ReviseModel, NothingRevisedIsTheSameModelByteForByte) {
  Revision nothing;
  nothing.component = "transformer";
  revise_model(model_, nothing, out_);
  EXPECT_EQ(read_tree(out_), read_tree(model_));
}

TEST_F(ReviseModel, WhatWasSetCanBeRemoved) {
  const auto before = read_tree(model_);
  revise_model(model_, revision(), model_);
  Revision removal;
  removal.component = "transformer";
  removal.time_groups.emplace();
  removal.bias_corrections["w"] = {};
  removal.activations["plain"] = {};
  revise_model(model_, removal, model_);
  EXPECT_EQ(read_tree(model_), before);
}

TEST_F(ReviseModel, InPlaceTheRevisedModelTakesTheOldOnesPlaceAndNothingElseIsLeft) {
  revise_model(model_, revision(), model_);
  expect_revised(model_);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()), 1);
}

// What a process leaves that is killed before, and after, the two changed places.
TEST_F(ReviseModel, AKilledRevisionLeavesTheOldOrTheNewModelAndIsTakenUpAgain) {
  const fs::path beside = directory_.path() / ".model.arrow_quant-new";
  const auto before = read_tree(model_);
  write_text(beside / kJournalName, "{\"fingerprint\": \"revision\", \"components\": []}");
  write_text(beside / "transformer/.quantized.parquet.tmp", "half a part");
  EXPECT_EQ(read_tree(model_), before);
  QuantizedModel::open(model_);
  revise_model(model_, revision(), model_);
  expect_revised(model_);
  EXPECT_FALSE(fs::exists(beside));

  for (const auto& [name, contents] : before) write_text(beside / name, contents);  // the old one
  Revision nothing;
  nothing.component = "transformer";
  revise_model(model_, nothing, model_);
  expect_revised(model_);
  EXPECT_FALSE(fs::exists(beside));
}

TEST_F(ReviseModel, AFailureChangesNothing) {
  const auto before = read_tree(model_);
  CancelToken cancel;
  cancel.cancel();
  EXPECT_THAT(error_of([&] { revise_model(model_, revision(), model_, &cancel); }),
              HasSubstr("Cancelled"));
  EXPECT_THAT(error_of([&] { revise_model(model_, revision(), out_, &cancel); }),
              HasSubstr("Cancelled"));
  EXPECT_EQ(read_tree(directory_.path()).size(), before.size());
  EXPECT_EQ(read_tree(model_), before);
}

TEST_F(ReviseModel, WhatDoesNotFitIsRefusedByName) {
  const struct {
    const char* problem;
    std::function<void(Revision&)> change;
  } cases[] = {
      {"Configuration: ", [](Revision& r) { r.component = "unet"; }},
      {"no component 'unet'; it has 'transformer', 'vae'",
       [](Revision& r) { r.component = "unet"; }},
      {"no component ''", [](Revision& r) { r.component = ""; }},
      {"tensor 'v': the component", [](Revision& r) { r.bias_corrections["v"] = {}; }},
      {"tensor 'a.bias': it was kept", [](Revision& r) { r.bias_corrections["a.bias"] = {}; }},
      {"tensor 'a.bias': it was kept", [](Revision& r) { r.activations["a.bias"] = {}; }},
      {"ShapeMismatch", [](Revision& r) { r.bias_corrections["w"].values.pop_back(); }},
      {"tensor 'w': bias corrections of 23 values, expected 3 groups of 8",
       [](Revision& r) { r.bias_corrections["w"].values.pop_back(); }},
      {"tensor 'w': bias corrections for 2 groups of timesteps, expected 1 or 3",
       [](Revision& r) {
         r.bias_corrections["w"] = {2, made_up_words(16, 0x2800)};
       }},
      {"tensor 'w': bias corrections for 3 groups of timesteps, expected 1,",
       [](Revision& r) { r.time_groups.reset(); }},
      {"tensor 'w': bias_corrections has a value at 2 that is not finite",
       [](Revision& r) { r.bias_corrections["w"].values[2] = 0x7C00; }},
      {"tensor 'plain': act_bits is 5", [](Revision& r) { r.activations["plain"].bits = 5; }},
      {"tensor 'plain': act is {0.0",
       [](Revision& r) { r.activations["plain"].ranges[0].clip = 0; }},
      {"tensor 'plain': activation parameters for 2 groups",
       [](Revision& r) { r.activations["plain"].ranges.resize(2); }},
      {"the time groups' kind is", [](Revision& r) { (*r.time_groups)->kind = "t"; }},
  };
  const auto before = read_tree(model_);
  for (const auto& [problem, change] : cases) {
    Revision wrong = revision();
    change(wrong);
    EXPECT_THAT(error_of([&] { revise_model(model_, wrong, model_); }), HasSubstr(problem));
  }
  EXPECT_EQ(read_tree(model_), before);
}

TEST_F(ReviseModel, ValuesThatStayMustFitTheNewGroups) {
  revise_model(model_, revision(), model_);
  Revision other;
  other.component = "transformer";
  other.time_groups.emplace();
  EXPECT_THAT(
      error_of([&] { revise_model(model_, other, model_); }),
      AllOf(HasSubstr("ShapeMismatch"), HasSubstr("'w': the bias corrections that stay are "
                                                  "for 3 groups of timesteps, expected 1")));
}

TEST_F(ReviseModel, AnOutputThatHoldsAModelIsNotReplaced) {
  revise_model(model_, revision(), out_);
  EXPECT_THAT(error_of([&] { revise_model(model_, revision(), out_); }),
              AllOf(HasSubstr("OutputExists"), HasSubstr("out")));
  EXPECT_THAT(error_of([&] { revise_model(model_, revision(), model_ / "inside"); }),
              HasSubstr("Configuration"));
}

TEST_F(ReviseModel, APartWhoseExtrasAreNotThoseOfTheManifestIsAnError) {
  revise_model(model_, revision(), out_);
  const fs::path part = "transformer/quantized.parquet";
  fs::copy_file(model_ / part, out_ / part, fs::copy_options::overwrite_existing);
  EXPECT_THAT(error_of([&] { QuantizedModel::open(out_); }),
              AllOf(HasSubstr("Metadata"), HasSubstr("'w' has other transforms, corrections")));
}

TEST_F(ReviseModel, APartWithOtherTimeGroupsThanTheManifestIsAnError) {
  revise_model(model_, revision(), out_);
  Revision other = revision();
  (*other.time_groups)->boundaries_timestep = {600, 200};
  revise_model(model_, other, model_);
  const fs::path part = "transformer/quantized.parquet";
  fs::copy_file(model_ / part, out_ / part, fs::copy_options::overwrite_existing);
  EXPECT_THAT(error_of([&] { QuantizedModel::open(out_); }),
              AllOf(HasSubstr("Metadata"), HasSubstr("other time groups than the manifest")));
}

TEST_F(ReviseModel, ABlockThatIsNotTheFirstIsRestoredWithWhatStandsInTheFirst) {
  const QuantizedModel model = QuantizedModel::open(model_);
  const int64_t w = model.find("transformer/w");
  const Buffer whole = model.dequantize(w, DType::F32);
  const QuantizedBlock second = model.read_block(w, 1);
  EXPECT_EQ(second.header.extras.low_rank_v, model.extras(w).low_rank_v);
  std::vector<float> rows(4 * 192);
  QuantizeScratch scratch;
  dequantize_rows(codes_view(second), transforms_view(second.header.extras), DType::F32,
                  rows.data(), scratch);
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), whole.as<float>().begin() + 4 * 192));
  EXPECT_EQ(model.extras(w).low_rank_u.size(), 8u * 3u);
}

}  // namespace
}  // namespace arrow_quant
