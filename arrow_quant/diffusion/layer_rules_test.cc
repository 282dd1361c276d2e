#include "arrow_quant/diffusion/layer_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <tuple>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Shape = std::vector<int64_t>;

// A row of testdata/layers_*.tsv.
struct Row {
  std::string model;
  std::string name;
  Shape shape;
  std::string decision;  // "4", "8" or "keep"
  std::string reason;    // how it begins
};

std::vector<Row> read_rows(const std::string& file) {
  std::ifstream in(ARROW_QUANT_SOURCE_DIR "/arrow_quant/diffusion/testdata/" + file);
  EXPECT_TRUE(in) << file;
  std::vector<Row> rows;
  std::string model;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("# ")) {
      model = line.substr(2);
      continue;
    }
    std::istringstream fields(line);
    Row row{model, "", {}, "", ""};
    std::string shape;
    std::getline(fields, row.name, '\t');
    std::getline(fields, shape, '\t');
    std::getline(fields, row.decision, '\t');
    std::getline(fields, row.reason);
    std::istringstream sizes(shape);
    for (std::string size; std::getline(sizes, size, 'x');) {
      row.shape.push_back(std::stoll(size));
    }
    rows.push_back(row);
  }
  return rows;
}

LayerRules rules_at(BitWidth width) {
  LayerRuleOptions options;
  options.bit_width = width;
  return LayerRules(options);
}

class LayersOf : public ::testing::TestWithParam<std::string> {};

TEST_P(LayersOf, KnownModelsAreDecidedAsTheTableSays) {
  const LayerRules rules = rules_at(BitWidth::Int4);
  std::set<std::string> models;
  for (const Row& row : read_rows(GetParam())) {
    SCOPED_TRACE(row.model + ": " + row.name);
    models.insert(row.model);
    const LayerDecision decision = rules.decide(row.name, row.shape, DType::BF16);
    ASSERT_EQ(decision.bit_width ? std::to_string(bits_of(*decision.bit_width)) : "keep",
              row.decision)
        << decision.reason;
    if (row.decision == "4") {
      EXPECT_THAT(decision.reason, IsEmpty());
    } else {
      EXPECT_THAT(decision.reason,
                  AnyOf(StartsWith(row.reason), StartsWith("8 bits for " + row.reason),
                        StartsWith("8 bits for a " + row.reason)));
      EXPECT_THAT(row.reason, Not(IsEmpty()));
    }
  }
  EXPECT_GE(models.size(), 20u);
}

TEST_P(LayersOf, OnlyLayersThatGetEightBitsAtFourChangeWithTheAskedBits) {
  const LayerRules two = rules_at(BitWidth::Int2);
  const LayerRules eight = rules_at(BitWidth::Int8);
  for (const Row& row : read_rows(GetParam())) {
    SCOPED_TRACE(row.model + ": " + row.name);
    const LayerDecision at_two = two.decide(row.name, row.shape, DType::F32);
    const LayerDecision at_eight = eight.decide(row.name, row.shape, DType::F32);
    EXPECT_EQ(at_two.bit_width, row.decision == "keep" ? std::nullopt
                                : row.decision == "8"  ? std::optional(BitWidth::Int8)
                                                       : std::optional(BitWidth::Int2));
    EXPECT_EQ(at_eight.bit_width,
              row.decision == "keep" ? std::nullopt : std::optional(BitWidth::Int8));
    if (at_eight.bit_width) {
      EXPECT_THAT(at_eight.reason, IsEmpty()) << "8 bits were asked";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Names, LayersOf,
                         ::testing::Values("layers_diffusers.tsv", "layers_original.tsv"),
                         [](const auto& file) {
                           return file.index == 0 ? "Diffusers" : "Original";
                         });

TEST(LayerRules, PrefixesOfSingleFilesDoNotChangeTheDecision) {
  const LayerRules rules = rules_at(BitWidth::Int4);
  for (const Row& row : read_rows("layers_diffusers.tsv")) {
    for (const std::string prefix : {"model.diffusion_model.", "transformer.", "module.unet."}) {
      SCOPED_TRACE(prefix + row.name);
      const LayerDecision plain = rules.decide(row.name, row.shape, DType::BF16);
      const LayerDecision prefixed = rules.decide(prefix + row.name, row.shape, DType::BF16);
      EXPECT_EQ(prefixed.bit_width, plain.bit_width);
      EXPECT_EQ(prefixed.reason, plain.reason);
    }
  }
}

TEST(LayerRules, TypesThatAreNotQuantizedAreKeptAndNamed) {
  const LayerRules rules = rules_at(BitWidth::Int4);
  const std::string name = "blocks.0.attn.to_q.weight";
  for (const DType dtype :
       {DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8_E4M3, DType::F8_E5M2}) {
    EXPECT_EQ(rules.decide(name, {512, 512}, dtype).bit_width, BitWidth::Int4);
  }
  for (const DType dtype : {DType::Bool, DType::U8, DType::I8, DType::I32, DType::I64, DType::C64,
                            DType::F4, DType::F8_E8M0, DType::F8_E4M3FNUZ}) {
    const LayerDecision decision = rules.decide(name, {512, 512}, dtype);
    EXPECT_EQ(decision.bit_width, std::nullopt);
    EXPECT_THAT(decision.reason, HasSubstr(std::string(to_string(dtype))));
  }
}

TEST(LayerRules, SmallTensorsAreKeptBelowTheThresholdsExactly) {
  const LayerRules rules = rules_at(BitWidth::Int4);
  struct Case {
    Shape shape;
    std::string reason;  // "": quantized
  };
  const Case cases[] = {
      {{128, 128}, ""},
      {{127, 129}, "small: 16383 elements, fewer than 16384"},
      {{32, 512}, ""},
      {{512, 32}, ""},
      {{31, 1024}, "small: channels in or out: 31, fewer than 32"},
      {{1024, 31}, "small: channels in or out: 31, fewer than 32"},
      {{64, 32, 3, 3}, ""},
      {{64, 31, 3, 3}, "small: channels in or out: 31, fewer than 32"},
      {{4096, 1, 3, 3}, "small: channels in or out: 1, fewer than 32"},
      {{16384}, "1-D tensor"},
      {{}, "scalar"},
      {{0, 512}, "no elements"},
      {{512, 512, 0}, "no elements"},
      {{0}, "no elements"},
  };
  for (const Case& c : cases) {
    const LayerDecision decision = rules.decide("blocks.0.conv.weight", c.shape, DType::F16);
    EXPECT_EQ(decision.reason, c.reason) << ::testing::PrintToString(c.shape);
    EXPECT_EQ(decision.bit_width.has_value(), c.reason.empty());
  }
}

TEST(LayerRules, ModulesNotToConvertBeatAllOthersAndAreNamed) {
  LayerRuleOptions options;
  options.modules_to_not_convert = {"blocks.1.", R"(re:^blocks\.[23]\..*\.to_[kv]\.weight$)"};
  options.modules_to_convert = {"blocks"};
  const LayerRules rules(options);
  const auto reason = [&](const std::string& name) {
    return rules.decide(name, {512, 512}, DType::BF16).reason;
  };
  EXPECT_EQ(reason("blocks.0.attn.to_q.weight"), "");
  EXPECT_EQ(reason("blocks.1.attn.to_q.weight"), "asked not to convert: blocks.1.");
  EXPECT_EQ(reason("blocks.2.attn.to_k.weight"),
            R"(asked not to convert: re:^blocks\.[23]\..*\.to_[kv]\.weight$)");
  EXPECT_EQ(reason("blocks.2.attn.to_q.weight"), "");
}

TEST(LayerRules, ModulesToConvertGetTheAskedBitsWhereThatIsPossible) {
  LayerRuleOptions options;
  options.bit_width = BitWidth::Int2;
  options.modules_to_convert = {"norm1.linear", "x_embedder", "re:lm_head|proj_out$|table"};
  const LayerRules rules(options);
  struct Case {
    std::string name;
    Shape shape;
    DType dtype;
    std::string reason;  // "": the asked bits
  };
  const Case cases[] = {
      {"transformer_blocks.0.norm1.linear.weight", {6912, 1152}, DType::BF16, ""},
      {"x_embedder.weight", {3072, 8}, DType::BF16, ""},
      {"lm_head.weight", {264, 256}, DType::F32, ""},
      {"scale_shift_table", {6, 1152}, DType::F32, ""},
      {"x_embedder.bias", {3072}, DType::BF16, "bias"},
      {"x_embedder.weight", {3072, 64}, DType::I8, "type I8 is not quantized"},
      {"x_embedder.weight", {0, 64}, DType::BF16, "no elements"},
      {"proj_out.weight", {64, 3072}, DType::BF16, "last projection: proj_out"},
  };
  for (const Case& c : cases) {
    const LayerDecision decision = rules.decide(c.name, c.shape, c.dtype);
    EXPECT_EQ(decision.reason, c.reason) << c.name;
    EXPECT_EQ(decision.bit_width, c.reason.empty() ? std::optional(BitWidth::Int2) : std::nullopt);
  }
}

TEST(LayerRules, LayerBitWidthsDecideByTheFirstPatternThatIsFound) {
  LayerRuleOptions options;
  options.modules_to_not_convert = {"blocks.9."};
  options.modules_to_convert = {"x_embedder"};
  options.layer_bit_widths = {{R"(blocks\.\d+\.attn\.to_q$)", 2},  // a module's path
                              {R"(\.to_[qkv]\.weight$)", 8},
                              {"norm1|embed", 4},
                              {"^lm_head", 2},
                              {"fc2", 16}};
  const LayerRules rules(options);
  struct Case {
    std::string name;
    Shape shape;
    int bits;  // 0: kept
    std::string reason;
    bool quantizable;
  };
  const Case cases[] = {
      {"blocks.0.attn.to_q.weight",
       {512, 512},
       2,
       R"(layer_bit_widths: blocks\.\d+\.attn\.to_q$ = 2)",
       true},
      {"blocks.0.attn.to_k.weight",
       {512, 512},
       8,
       R"(layer_bit_widths: \.to_[qkv]\.weight$ = 8)",
       true},
      {"blocks.0.norm1.linear.weight", {512, 512}, 4, "layer_bit_widths: norm1|embed = 4", true},
      {"x_embedder.weight", {8, 8}, 4, "layer_bit_widths: norm1|embed = 4", true},
      {"lm_head.weight", {264, 256}, 2, "layer_bit_widths: ^lm_head = 2", true},
      {"blocks.0.fc2.weight", {512, 512}, 0, "layer_bit_widths: fc2 = 16", true},
      {"t_embedder.fc2.weight", {512, 512}, 4, "layer_bit_widths: norm1|embed = 4", true},
      {"blocks.0.fc2.bias", {512}, 0, "bias", false},
      {"pos_table_fc2", {512, 512}, 0, "layer_bit_widths: fc2 = 16", false},
      {"blocks.9.attn.to_q.weight", {512, 512}, 0, "asked not to convert: blocks.9.", false},
      {"blocks.0.fc1.weight", {512, 512}, 4, "", true},
      {"conv_in.weight", {512, 512}, 0, "first projection: conv_in", false},
  };
  for (const Case& c : cases) {
    const LayerDecision decision = rules.decide(c.name, c.shape, DType::BF16);
    EXPECT_EQ(decision.bit_width ? bits_of(*decision.bit_width) : 0, c.bits) << c.name;
    EXPECT_EQ(decision.reason, c.reason) << c.name;
    EXPECT_EQ(decision.quantizable, c.quantizable) << c.name;
    EXPECT_EQ(decision.asked_for, c.reason.starts_with("layer_bit_widths")) << c.name;
  }
}

TEST(LayerRules, LayerBitWidthsThatCannotBeMeantAreConfigurationErrors) {
  for (const auto& [pattern, bits, part] :
       {std::tuple<const char*, int64_t, const char*>("", 4, "''"),
        std::tuple<const char*, int64_t, const char*>("(", 4, "'('"),
        std::tuple<const char*, int64_t, const char*>("a", 3, "'a' = 3"),
        std::tuple<const char*, int64_t, const char*>("a", 32, "2, 4, 8, and 16"),
        std::tuple<const char*, int64_t, const char*>("a", int64_t{1} << 40, "'a'")}) {
    LayerRuleOptions options;
    options.layer_bit_widths = {{pattern, bits}};
    try {
      const LayerRules rules(options);
      ADD_FAILURE() << pattern << " = " << bits << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Configuration);
      EXPECT_THAT(error.what(), HasSubstr("layer_bit_widths"));
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }
}

TEST(LayerRules, PatternsThatCannotBeMeantAreConfigurationErrors) {
  for (const std::string text : {"", "re:", "re:(", "re:[z-a]", "re:*"}) {
    for (const bool convert : {false, true}) {
      LayerRuleOptions options;
      (convert ? options.modules_to_convert : options.modules_to_not_convert) = {text};
      try {
        const LayerRules rules(options);
        ADD_FAILURE() << "'" << text << "' was taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::Configuration);
        EXPECT_THAT(error.what(), HasSubstr("'" + text + "'"));
      }
    }
  }
}

TEST(LayerRules, VeryLongNamesAreDecidedToo) {
  LayerRuleOptions options;
  options.modules_to_not_convert = {"re:(a|b)*c"};
  const LayerRules rules(options);
  const std::string name = std::string(4 << 20, 'a') + ".weight";
  EXPECT_EQ(rules.decide(name, {512, 512}, DType::BF16).bit_width, BitWidth::Int4);
}

TEST(LayerRules, NamesOfNothingButWrappersAndDotsAreDecidedToo) {
  const LayerRules rules = rules_at(BitWidth::Int4);
  for (const std::string name :
       {"weight", ".weight", "..weight", "model.weight", "model.model.weight",
        "transformer.0.weight", "a b.weight", "conv_in out_proj.weight"}) {
    EXPECT_EQ(rules.decide(name, {512, 512}, DType::BF16).bit_width, BitWidth::Int4) << name;
  }
  for (const std::string name :
       {"", ".", "..", "model", "model.", "weight.", "model.diffusion_model"}) {
    EXPECT_THAT(rules.decide(name, {512, 512}, DType::BF16).reason,
                StartsWith("not a layer's weight"))
        << name;
  }
}

TEST(MatrixShape, FoldsAllButTheFirstDimension) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kHuge = int64_t{1} << 40;
  struct Case {
    Shape shape;
    int64_t rows;
    int64_t cols;
  };
  const Case cases[] = {
      {{}, 1, 1},
      {{7}, 1, 7},
      {{0}, 1, 0},
      {{3, 5}, 3, 5},
      {{320, 4, 3, 3}, 320, 36},
      {{5120, 16, 1, 2, 2}, 5120, 64},
      {{1, 1, 1}, 1, 1},
      {{4, 0}, 4, 0},
      {{0, 4}, 0, 4},
      {{0, kHuge, kHuge}, 0, kMax},
      {{5, kHuge, kHuge, 0}, 5, 0},
      {{5, 0, kHuge, kHuge}, 5, 0},
      {{1, kMax}, 1, kMax},
  };
  for (const Case& c : cases) {
    const MatrixShape matrix = matrix_shape(c.shape);
    EXPECT_EQ(matrix.rows, c.rows) << ::testing::PrintToString(c.shape);
    EXPECT_EQ(matrix.cols, c.cols) << ::testing::PrintToString(c.shape);
  }
}

TEST(LayerRules, WithoutTheRulesForDiffusionEveryLargeWeightGetsTheAskedBits) {
  LayerRuleOptions options;
  options.diffusion_rules = false;
  options.modules_to_not_convert = {"router"};
  const LayerRules rules(options);
  struct Case {
    std::string name;
    std::vector<int64_t> shape;
    DType dtype;
    std::string reason;  // empty: quantized
  };
  const Case cases[] = {
      {"model.embed_tokens.weight", {32000, 128}, DType::F32, ""},
      {"lm_head.weight", {32000, 128}, DType::BF16, ""},
      {"time_embed.linear_1.weight", {320, 256}, DType::F32, ""},
      {"norm_out.linear.weight", {320, 256}, DType::F32, ""},
      {"vae.decoder.conv_in.weight", {64, 64, 3, 3}, DType::F32, ""},
      {"scale_shift_table", {128, 128}, DType::F32, ""},
      {"router.weight", {128, 128}, DType::F32, "asked not to convert: router"},
      {"blocks.0.norm.weight", {4096}, DType::F32, "norm"},
      {"blocks.0.fc.bias", {4096}, DType::F32, "bias"},
      {"position_ids", {128, 128}, DType::I64, "type I64 is not quantized"},
      {"fc.weight", {100, 100}, DType::F32, "small: 10000 elements, fewer than 16384"},
      {"conv.weight", {4096, 3, 3, 3}, DType::F32, "small: channels in or out: 3, fewer than 32"},
  };
  for (const Case& c : cases) {
    const LayerDecision decision = rules.decide(c.name, c.shape, c.dtype);
    EXPECT_EQ(decision.reason, c.reason) << c.name;
    EXPECT_EQ(decision.bit_width, c.reason.empty() ? std::optional(BitWidth::Int4) : std::nullopt)
        << c.name;
  }
}

}  // namespace
}  // namespace arrow_quant
