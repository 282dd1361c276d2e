#include "arrow_quant/io/block_extras.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "arrow_quant/io/part_reader.h"
#include "arrow_quant/io/part_test_util.h"
#include "arrow_quant/io/part_writer.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using enum Transform;

constexpr size_t kRows = 4, kCols = 192;

// One tensor of two blocks of two rows with what `change` gives each of them.
std::vector<QuantizedBlock> two_blocks(const std::function<void(QuantizedBlock&)>& change) {
  std::vector<QuantizedBlock> blocks;
  for (int i = 0; i < 2; ++i) {
    QuantizedBlock block = quantized_block("w", {kRows / 2, kCols}, 4, 64);
    block.header.shape = {kRows, kCols};
    block.header.block_index = i;
    block.header.row_start = i * static_cast<int64_t>(kRows / 2);
    change(block);
    blocks.push_back(std::move(block));
  }
  return blocks;
}

struct Case {
  const char* name;
  std::function<void(QuantizedBlock&)> change;
  std::vector<std::string> features;
};

std::vector<Case> cases() {
  const auto activation = [](ActMode mode, int bits, size_t groups) {
    return [=](QuantizedBlock& block) { add_activation(block, mode, bits, groups); };
  };
  return {
      {"nothing", [](QuantizedBlock&) {}, {}},
      {"a hadamard", [](QuantizedBlock& b) { add_hadamard(b, 64); }, {"hadamard"}},
      {"a low rank", [](QuantizedBlock& b) { add_low_rank(b, 3); }, {"low_rank"}},
      {"an input scale", [](QuantizedBlock& b) { add_input_scale(b); }, {"input_scale"}},
      {"one bias", [](QuantizedBlock& b) { add_bias(b, 1); }, {"bias_corrections"}},
      {"a bias per group", [](QuantizedBlock& b) { add_bias(b, 10); }, {"bias_corrections"}},
      {"dynamic activations", activation(ActMode::Dynamic, 4, 5), {"activation_quantization"}},
      {"static activations", activation(ActMode::Static, 8, 1), {"activation_quantization"}},
      {"everything",
       [](QuantizedBlock& b) { add_every_extra(b); },
       {"activation_quantization", "bias_corrections", "hadamard", "input_scale", "low_rank"}},
      {"an output SQNR", [](QuantizedBlock& b) { b.header.output_sqnr_db = 31.5f; }, {}},
  };
}

TEST(BlockExtras, ComeBackAsTheyWereWritten) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a.parquet";
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const auto blocks = two_blocks(c.change);
    const PartInfo info = write_part(path, blocks);
    const PartReader reader = PartReader::open(path);
    ASSERT_EQ(reader.blocks().size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      expect_equal(reader.read(i), blocks[i]);
      EXPECT_TRUE(reader.read_extras(i) == blocks[i].header.extras);
      EXPECT_EQ(reader.blocks()[i].extras.bias_groups, blocks[i].header.extras.bias_groups);
      EXPECT_TRUE(reader.blocks()[i].extras.low_rank_v.empty());
      EXPECT_EQ(reader.stored_bytes()[i], info.blocks[i].stored_bytes);
    }
    EXPECT_EQ(features_of(layer_extras(blocks[0].header.extras)), c.features);
    for (const std::string& feature : c.features) {
      EXPECT_TRUE(is_known_feature(feature));
      EXPECT_THAT(reader.metadata().at("arrow_quant.required_features"), HasSubstr(feature));
    }
  }
}

TEST(BlockExtras, StandAmongBlocksThatHaveNone) {
  const TemporaryDirectory directory;
  auto blocks = blocks_of_every_kind();
  for (QuantizedBlock& block : two_blocks(add_every_extra)) {
    block.header.layer_name = "with extras";
    blocks.push_back(std::move(block));
  }
  write_part(directory.path() / "a.parquet", blocks);
  const PartReader reader = PartReader::open(directory.path() / "a.parquet");
  for (size_t i = 0; i < blocks.size(); ++i) {
    expect_equal(reader.read(i), blocks[i]);
  }
}

// Pages and their headers are counted as they are stored.
TEST(BlockExtras, CountAmongTheStoredBytes) {
  const TemporaryDirectory directory;
  const auto stored = [&](const std::function<void(QuantizedBlock&)>& change) {
    return write_part(directory.path() / "a.parquet", two_blocks(change)).blocks[0].stored_bytes;
  };
  const int64_t plain = stored([](QuantizedBlock&) {});
  const struct {
    std::function<void(QuantizedBlock&)> change;
    size_t size_bytes;
    size_t columns;
  } table[] = {
      {[](QuantizedBlock& b) { add_hadamard(b, 64); }, 0, 0},
      {[](QuantizedBlock& b) { add_low_rank(b, 3); }, 2 * (kRows / 2 * 3 + 3 * kCols), 2},
      {[](QuantizedBlock& b) { add_input_scale(b); }, 4 * kCols, 1},
      {[](QuantizedBlock& b) { add_bias(b, 10); }, 2 * 10 * kRows / 2, 1},
      {[](QuantizedBlock& b) { add_activation(b, ActMode::Static, 8, 5); }, 4 * 3 * 5, 3},
  };
  for (const auto& [change, size_bytes, columns] : table) {
    const int64_t more = stored(change) - plain;
    EXPECT_GE(more, static_cast<int64_t>(size_bytes));
    EXPECT_LE(more, static_cast<int64_t>(size_bytes + 48 * columns));
    QuantizedBlock block = std::move(two_blocks(change)[0]);
    EXPECT_EQ(static_cast<int64_t>(block.data_size_bytes) + stored_param_bytes(block),
              plain + more);
  }
}

TEST(BlockExtras, ThatDoNotFitTheirBlockAreNotWritten) {
  const TemporaryDirectory directory;
  const struct {
    const char* problem;
    std::function<void(BlockExtras&)> change;
  } table[] = {
      {"transforms is [low_rank, hadamard, input_scale]",
       [](BlockExtras& e) { std::swap(e.transforms[0], e.transforms[1]); }},
      {"hadamard_block is 48, expected a power of two that divides 192",
       [](BlockExtras& e) { e.hadamard_block = 48; }},
      {"hadamard_block is 128", [](BlockExtras& e) { e.hadamard_block = 128; }},
      {"hadamard_block is 1,", [](BlockExtras& e) { e.hadamard_block = 1; }},
      {"hadamard_block is 64, expected 0",
       [](BlockExtras& e) { e.transforms.erase(e.transforms.begin()); }},
      {"rank is 0", [](BlockExtras& e) { e.rank = 0; }},
      {"rank is 3, expected 0",
       [](BlockExtras& e) { e.transforms.erase(e.transforms.begin() + 1); }},
      {"low_rank_u is 5 values long, expected 6", [](BlockExtras& e) { e.low_rank_u.pop_back(); }},
      {"low_rank_v", [](BlockExtras& e) { e.low_rank_v.push_back(0); }},
      {"low_rank_u has a value at 1", [](BlockExtras& e) { e.low_rank_u[1] = 0x7FC0; }},
      {"input_scale is 0 values long, expected 192", [](BlockExtras& e) { e.input_scale.clear(); }},
      {"input_scale has a value at 3", [](BlockExtras& e) { e.input_scale[3] = 0; }},
      {"bias_corrections is 20 values long, expected 18",
       [](BlockExtras& e) { e.bias_groups = 9; }},
      {"bias_corrections has a value at 0", [](BlockExtras& e) { e.bias_corrections[0] = 0x7C00; }},
      {"bias_corrections is of 257 groups", [](BlockExtras& e) { e.bias_groups = 257; }},
      {"act_bits is 5", [](BlockExtras& e) { e.act_bits = 5; }},
      {"act_mode is '', expected 'dynamic' or 'static'",
       [](BlockExtras& e) { e.act_mode = ActMode::None; }},
      {"act is 0 values long", [](BlockExtras& e) { e.act.clear(); }},
      {"act is {0.", [](BlockExtras& e) { e.act[1].clip = 0; }},
      {"act is", [](BlockExtras& e) { e.act[0].scale = std::numeric_limits<float>::infinity(); }},
  };
  for (const auto& [problem, change] : table) {
    auto blocks = two_blocks(add_every_extra);
    change(blocks[0].header.extras);
    EXPECT_THAT(
        error_of([&] { write_part(directory.path() / "a.parquet", blocks); }),
        AllOf(HasSubstr("Metadata"), HasSubstr(problem), HasSubstr("'w'"), HasSubstr("a.parquet")));
  }
}

TEST(BlockExtras, ABlockThatIsNotTheFirstHasNoFieldsOfTheWholeTensor) {
  const TemporaryDirectory directory;
  auto blocks = two_blocks(add_every_extra);
  blocks[1].header.extras.act_bits = 8;
  EXPECT_THAT(error_of([&] { write_part(directory.path() / "a.parquet", blocks); }),
              HasSubstr("block 1: act_bits is 8, expected 0"));
}

TEST(BlockExtras, AKeptTensorHasNone) {
  const TemporaryDirectory directory;
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(kept_block("k", {4, 64}, DType::F32));
  add_bias(blocks[0], 1);
  EXPECT_THAT(error_of([&] { write_part(directory.path() / "a.parquet", blocks); }),
              AllOf(HasSubstr("'k'"), HasSubstr("a kept tensor has")));
}

TEST(BlockExtras, BlocksOfATensorAgreeInThem) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a.parquet";
  auto blocks = two_blocks(add_every_extra);
  add_bias(blocks[1], 9);
  write_part(path, blocks);
  EXPECT_THAT(error_of([&] { PartReader::open(path); }),
              AllOf(HasSubstr("Metadata"), HasSubstr("another tensor than block 0")));
}

}  // namespace
}  // namespace arrow_quant
