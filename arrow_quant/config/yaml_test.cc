#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <fstream>
#include <random>

#include "arrow_quant/config/config.h"
#include "arrow_quant/config/options.h"
#include "arrow_quant/config/value_text.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(YamlTest, EveryKindOfOptionCanBeGiven) {
  const auto config = DiffusionQuantConfig::from_yaml_text(R"(
# a comment
bits: 2
modality: image
min_accuracy: 7.5e-1
error_norm: 4
fail_fast: true
components: [unet, "vae"]
modules_to_not_convert:
  - 're:^blocks\.0\.'
  - proj_out
variant: "16"
max_part_size_mb: +64
)",
                                                           "c.yaml");
  DiffusionQuantConfig expected;
  expected.bit_width = 2;
  expected.modality = Modality::Image;
  expected.min_accuracy = 0.75;
  expected.error_norm = 4;
  expected.fail_fast = true;
  expected.components = {"unet", "vae"};
  expected.modules_to_not_convert = {"re:^blocks\\.0\\.", "proj_out"};
  expected.variant = "16";
  expected.max_part_size_mb = 64;
  EXPECT_EQ(config, expected);
}

TEST(YamlTest, AFileWithoutOptionsGivesTheDefaults) {
  for (const char* const text :
       {"", "\n\n", "# only a comment\n", "---\n", "---\n...\n", "{}", "null",
        "modality:\nvariant: ~\ncomponents:\nthermodynamic:\n", "\xEF\xBB\xBF"}) {
    EXPECT_EQ(DiffusionQuantConfig::from_yaml_text(text, "c.yaml"), DiffusionQuantConfig()) << text;
  }
}

TEST(YamlTest, OptionsOfASectionStandNestedOrByTheirFlatNames) {
  DiffusionQuantConfig expected;
  expected.thermodynamic.validation = {true, 0.5, false};
  expected.thermodynamic.transition_optimization.beta_schedule = BetaSchedule::Cosine;
  for (const char* const text : {
           "thermodynamic:\n  validation:\n    enabled: true\n    smoothness_threshold: 0.5\n"
           "    log_violations: false\n  boundary_smoothing:\n"
           "  transition_optimization: {beta_schedule: cosine}\nmodality: ~\n",
           "enable_markov_validation: true\nsmoothness_threshold: 0.5\nlog_violations: false\n"
           "beta_schedule: cosine\n",
           "thermodynamic.validation.enabled: true\nthermodynamic: {validation: "
           "{smoothness_threshold: 0.5, log_violations: false}}\nbeta_schedule: cosine\n",
       }) {
    EXPECT_EQ(DiffusionQuantConfig::from_yaml_text(text, "c.yaml"), expected) << text;
  }
}

TEST(YamlTest, AMappingGivesNamesWithNumbersInTheirOrder) {
  const auto given = parse_yaml_options(
      "components:\n  're:^b': 4\n  a b: 8\nmodality: image\nvariant: {}\n", "c.yaml");
  ASSERT_EQ(given.size(), 3u);
  EXPECT_EQ(given[0].value, ConfigValue(NamedInts{{"re:^b", 4}, {"a b", 8}}));
  EXPECT_EQ(given[0].where, "c.yaml:1");
  EXPECT_EQ(given[1].name, "modality");
  EXPECT_EQ(given[2].value, ConfigValue(NamedInts()));
}

TEST(YamlTest, TheProfileSetsTheDefaultsOfWhatIsNotGiven) {
  const auto config =
      DiffusionQuantConfig::from_yaml_text("group_size: 32\ndeployment_profile: edge\n", "c.yaml");
  auto expected = DiffusionQuantConfig::from_profile(DeploymentProfile::Edge);
  expected.group_size = 32;
  EXPECT_EQ(config, expected);
}

TEST(YamlTest, WhatIsNotAllowedIsRefusedWithItsLine) {
  struct Case {
    std::string text;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"bits: 4\ngroup_sise: 64\n",
       "c.yaml:2: unknown option \"group_sise\": did you mean "
       "group_size?"},
      {"bits: 3\n", "c.yaml:1: bit_width = 3: allowed are 2, 4, 8"},
      {"\n\ngroup_size: 100\n", "c.yaml:3: group_size = 100: allowed are 32, 64, 128, 256"},
      {"group_size: \"64\"\n",
       "c.yaml:1: group_size = \"64\": an integer is needed; allowed are 32, 64, 128, 256"},
      {"group_size: 0x40\n",
       "c.yaml:1: group_size = \"0x40\": an integer is needed; allowed are 32, 64, 128, 256"},
      {"num_threads: 99999999999999999999\n",
       "c.yaml:1: num_threads = 1.0e+20: an integer is needed; allowed is 0 … 1024"},
      {"min_accuracy: .nan\n",
       "c.yaml:1: min_accuracy = \".nan\": a number is needed; allowed is 0 … 1"},
      {"min_accuracy: nan\n",
       "c.yaml:1: min_accuracy = \"nan\": a number is needed; allowed is 0 … 1"},
      {"fail_fast: yes\n", "c.yaml:1: fail_fast = \"yes\": allowed are true, false"},
      {"fail_fast: True\n", "c.yaml:1: fail_fast = \"True\": allowed are true, false"},
      {"fail_fast:\n", "c.yaml:1: fail_fast = null: allowed are true, false"},
      {"bits: 4\n\nbits: 4\n", "c.yaml:3: option bit_width stands twice, first at c.yaml:1"},
      {"bits: 4\nbit_width: 8\n", "c.yaml:2: option bit_width stands twice, first at c.yaml:1"},
      {"components: unet\n",
       "c.yaml:1: components = \"unet\": a list of strings is needed, such as [\"name\"]"},
      {"components:\n  - 1\n", "c.yaml:2: components: entry 1 is not a string; put it in quotes"},
      {"components:\n  -\n", "c.yaml:3: components: entry null is not a string; put it in quotes"},
      {"components: [[unet]]\n", "c.yaml:1: a list inside a value is not allowed"},
      {"components: [{a: b}]\n", "c.yaml:1: a mapping inside a value is not allowed"},
      {"components: {a: [b]}\n", "c.yaml:1: a list inside a value is not allowed"},
      {"components: {a: {b: 4}}\n", "c.yaml:1: a mapping inside a value is not allowed"},
      {"components: {[a]: 4}\n", "c.yaml:1: components: a name in a mapping must be text"},
      {"components: {a: 4, a: 8}\n", "c.yaml:1: components: \"a\" stands twice"},
      {"components:\n  a: mse\n",
       "c.yaml:2: components: \"a\" is \"mse\": values in a mapping are integers"},
      {"method: {a: 4, b: 8}\n", "c.yaml:1: method = {\"a\": 4, \"b\": 8}: allowed are rtn, mse"},
      {"thermodynamic: 4\n",
       "c.yaml:1: thermodynamic: a mapping of its options to values is needed"},
      {"thermodynamic:\n  validation: [1]\n",
       "c.yaml:2: thermodynamic.validation: a mapping of its options to values is needed"},
      {"thermodynamic:\n  validation:\n    enabeld: true\n",
       "c.yaml:3: unknown option \"thermodynamic.validation.enabeld\": did you mean "
       "thermodynamic.validation.enabled?"},
      {"thermodynamic:\n  boundary_smoothing:\n    window_size: 0\n",
       "c.yaml:3: window_size = 0: allowed is 1 … 1000"},
      {"markov_weight: 1\nthermodynamic:\n  transition_optimization:\n    markov_weight: 1\n",
       "c.yaml:4: option markov_weight stands twice, first at c.yaml:1"},
      {"thermodynamic: {validation: {}}\nthermodynamic:\n", "c.yaml:2: thermodynamic stands twice"},
      {"thermodynamic:\n  validation: &v\n    enabled: true\n",
       "c.yaml:2: anchors and aliases are not allowed: write the value out"},
      {"- bits\n",
       "c.yaml:1: a mapping of option names to values is needed, such as \"bit_width: 4\""},
      {"bits\n",
       "c.yaml:1: a mapping of option names to values is needed, such as \"bit_width: 4\""},
      {"? [a]\n: 1\n", "c.yaml:1: an option's name must be text"},
      {"<<: {bits: 4}\n", "c.yaml:1: unknown option \"<<\": allowed are "},
      {"4: 4\n", "c.yaml:1: unknown option \"4\": allowed are "},
      {"bits: &b 4\n", "c.yaml:1: anchors and aliases are not allowed: write the value out"},
      {"bits: *b\n", "c.yaml:1: not valid YAML: "},
      {"bits: !!int \"4\"\n", "c.yaml:1: tag \"tag:yaml.org,2002:int\": tags are not allowed"},
      {"bits: 4\n---\nbits: 2\n", "c.yaml:2: a second document: one is allowed"},
      {"components: [\"a\"\n", "c.yaml:2: not valid YAML: "},
      {"bits: 4\n\tgroup_size: 64\n", "c.yaml:2: "},
      {"bits: \"4\n", "c.yaml:2: not valid YAML: "},
  };
  for (const auto& [text, message] : cases) {
    try {
      DiffusionQuantConfig::from_yaml_text(text, "c.yaml");
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      if (message.ends_with(' ')) {
        EXPECT_THAT(error.what(), HasSubstr(message)) << text;
      } else {
        EXPECT_EQ(error.what(), message) << text;
      }
      EXPECT_EQ(error.code(),
                text == "bits: 3\n" ? ErrorCode::InvalidBitWidth : ErrorCode::Configuration)
          << text;
    }
  }
}

TEST(YamlTest, TextThatWouldGrowOrNestWithoutBoundIsRefused) {
  const auto repeated = [](const std::string& part, size_t times) {
    std::string text;
    while (times-- > 0) {
      text += part;
    }
    return text;
  };
  const auto distinct_entries = [](int times) {
    std::string text;
    while (times-- > 0) {
      text += std::to_string(times) + ": 4,\n";
    }
    return text;
  };
  const std::vector<std::string> texts = {
      repeated("[", 500000),
      repeated("{", 500000),
      repeated("- ", 400000),
      repeated("? ", 400000),
      "components: " + repeated("[", 500000),
      "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
      repeated("x", (1 << 20) + 1),
      repeated("k: 1\n", 100000),
      "thermodynamic: " + repeated("{validation: ", 50000),
      "components: {" + distinct_entries(100000) + "}\n",
  };
  for (const std::string& text : texts) {
    EXPECT_THROW(DiffusionQuantConfig::from_yaml_text(text, "c.yaml"), Error) << text.substr(0, 20);
  }
}

TEST(YamlTest, AnyBytesGiveAConfigOrAnError) {
  // Text near to a configuration, with bytes replaced, dropped and doubled by a fixed generator.
  const std::string base =
      "bits: 4\ncomponents: [a, 'b', \"c\\n\"]\nmodules_to_convert:\n  - |\n    x\nvariant: fp16\n";
  std::mt19937 random(1);
  const auto below = [&](size_t bound) { return random() % bound; };
  int refused = 0;
  for (int run = 0; run < 3000; ++run) {
    std::string text = base;
    for (size_t edit = 0; edit <= below(4); ++edit) {
      const size_t at = below(text.size());
      switch (below(3)) {
        case 0:
          text[at] = static_cast<char>(below(256));
          break;
        case 1:
          text.erase(at, 1 + below(5));
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(8)));
          break;
      }
    }
    try {
      DiffusionQuantConfig::from_yaml_text(text, "c.yaml").validate();
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, 3000);
}

// Text of characters that YAML, strings or terminals treat in their own ways.
std::string odd_text(std::mt19937& random) {
  static const std::vector<std::string> pieces = {
      "a",  " ", "\"",  "'",    "\\", "\n",     "\r",     "\t",         ":", "#",
      "- ", "{", "}",   "\x7f", "é",  "\u0085", "\u2028", "\U0001F600", "%", std::string(1, '\0'),
      "~",  "4", "null"};
  std::string text;
  for (size_t length = 1 + random() % 8; length > 0; --length) {
    text += pieces[random() % pieces.size()];
  }
  return text;
}

TEST(YamlTest, WhatIsWrittenReadsBackExactly) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> exponent(-300, 300);
  for (int run = 0; run < 500; ++run) {
    auto config = DiffusionQuantConfig::from_profile(static_cast<DeploymentProfile>(run % 3));
    config.variant = odd_text(random);
    config.components = {odd_text(random), odd_text(random)};
    config.activation_bits = run % 2 == 0 ? std::optional<int64_t>(4) : std::nullopt;
    config.min_accuracy = std::generate_canonical<double, 64>(random);
    config.thermodynamic.validation.enabled = run % 2 == 0;
    config.thermodynamic.boundary_smoothing.interpolation =
        static_cast<InterpolationMethod>(run % 3);
    config.thermodynamic.transition_optimization.markov_weight = std::pow(10, exponent(random));
    config.thermodynamic.transition_optimization.learning_rate = std::pow(10, exponent(random));
    const std::string text = config.to_yaml_text();
    EXPECT_EQ(DiffusionQuantConfig::from_yaml_text(text, "c.yaml"), config) << text;
  }
}

TEST(YamlTest, ASectionIsWrittenNestedAndOnce) {
  DiffusionQuantConfig config;
  config.components = {"a\"b"};
  const std::string text = config.to_yaml_text();
  EXPECT_THAT(text, testing::StartsWith("bit_width: 4\nmodality: null\n"));
  EXPECT_THAT(text, HasSubstr("\ncomponents: [\"a\\\"b\"]\n"));
  EXPECT_THAT(text, testing::EndsWith("thermodynamic:\n"
                                      "  boundary_smoothing:\n"
                                      "    enabled: false\n"
                                      "    window_size: 5\n"
                                      "    interpolation: \"linear\"\n"
                                      "  transition_optimization:\n"
                                      "    enabled: false\n"
                                      "    markov_weight: 0.1\n"
                                      "    entropy_weight: 0.05\n"
                                      "    learning_rate: 0.01\n"
                                      "    max_iterations: 50\n"
                                      "    convergence_threshold: 0.0001\n"
                                      "    beta_schedule: \"linear\"\n"
                                      "  validation:\n"
                                      "    enabled: false\n"
                                      "    smoothness_threshold: 0.25\n"
                                      "    log_violations: true\n"));
}

class YamlFileTest : public testing::Test {
 protected:
  std::filesystem::path path_ = std::filesystem::path(testing::TempDir()) / "yaml_file_test.yaml";
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(YamlFileTest, AFileIsReadAndNamedInMessages) {
  std::ofstream(path_) << "bits: 8\n";
  EXPECT_EQ(DiffusionQuantConfig::from_yaml(path_).bit_width, 8);
  std::ofstream(path_) << "bits: 5\n";
  try {
    DiffusionQuantConfig::from_yaml(path_);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), path_.string() + ":1: bit_width = 5: allowed are 2, 4, 8");
  }
}

TEST_F(YamlFileTest, TheExamplesOfTheReferenceRun) {
  const auto edge_config = DiffusionQuantConfig::from_profile(DeploymentProfile::Edge);
  edge_config.validate();
  edge_config.to_yaml(path_);
  const auto config = DiffusionQuantConfig::from_yaml(path_);
  EXPECT_EQ(config, edge_config);
}

TEST_F(YamlFileTest, AFileThatCannotBeReadIsAConfigurationErrorThatSaysWhy) {
  const std::vector<std::pair<std::filesystem::path, int>> cases = {{path_, ENOENT},
                                                                    {testing::TempDir(), EISDIR}};
  for (const auto& [path, os_errno] : cases) {
    try {
      DiffusionQuantConfig::from_yaml(path);
      ADD_FAILURE() << "accepted " << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Configuration) << error.what();
      EXPECT_EQ(error.os_errno(), os_errno) << error.what();
      EXPECT_EQ(error.path(), path);
    }
  }
}

TEST_F(YamlFileTest, AFileIsWrittenWholeOrNotAtAll) {
  DiffusionQuantConfig config;
  config.bit_width = 2;
  config.to_yaml(path_);
  EXPECT_EQ(DiffusionQuantConfig::from_yaml(path_), config);
  const auto refused = [&](const std::filesystem::path& path) {
    try {
      config.to_yaml(path);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::Cancelled;
  };
  config.group_size = 100;
  EXPECT_EQ(refused(path_), ErrorCode::Configuration);
  config.group_size = 64;
  config.variant = "\xFF";
  EXPECT_EQ(refused(path_), ErrorCode::Configuration);
  EXPECT_EQ(DiffusionQuantConfig::from_yaml(path_).group_size, 128);
  config.variant.reset();
  EXPECT_EQ(refused(path_ / "below a file"), ErrorCode::Io);
}

TEST(YamlTest, PlainScalarsAreTypedLikeYaml) {
  const std::vector<std::pair<std::string, ConfigValue>> cases = {
      {"", {}},
      {"~", {}},
      {"null", {}},
      {"true", true},
      {"false", false},
      {"on", std::string("on")},
      {"4", int64_t{4}},
      {"-4", int64_t{-4}},
      {"+4", int64_t{4}},
      {"+-4", std::string("+-4")},
      {"4.0", 4.0},
      {".5", 0.5},
      {"1e-3", 0.001},
      {"1e999", std::string("1e999")},
      {"e", std::string("e")},
      {"-", std::string("-")},
      {"inf", std::string("inf")},
      {"4 ", std::string("4 ")},
      {"9223372036854775807", int64_t{9223372036854775807}},
      {"9223372036854775808", 9223372036854775808.0},
  };
  for (const auto& [text, value] : cases) {
    EXPECT_EQ(parse_plain_scalar(text), value) << text;
  }
}

}  // namespace
}  // namespace arrow_quant
