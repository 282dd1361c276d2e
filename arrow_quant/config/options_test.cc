#include "arrow_quant/config/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

using ::testing::ElementsAre;
using Strings = std::vector<std::string>;

// The message of the Error that `action` throws; "" if it throws none.
template <class Action>
std::string message_of(Action&& action, ErrorCode code = ErrorCode::Configuration) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "";
}

TEST(OptionsTest, EveryOptionReadsBackWhatWasSet) {
  struct Case {
    std::string name;
    ConfigValue value;
  };
  const std::vector<Case> cases = {
      {"bit_width", int64_t{8}},
      {"modality", std::string("audio")},
      {"num_time_groups", int64_t{20}},
      {"group_size", int64_t{32}},
      {"enable_time_aware", false},
      {"enable_spatial", false},
      {"min_accuracy", 0.5},
      {"calibration_samples", int64_t{4}},
      {"deployment_profile", std::string("cloud")},
      {"fail_fast", true},
      {"enable_transition_optimization", true},
      {"markov_weight", 0.5},
      {"entropy_weight", 0.5},
      {"learning_rate", 0.5},
      {"max_iterations", int64_t{5}},
      {"convergence_threshold", 0.5},
      {"beta_schedule", std::string("cosine")},
      {"num_threads", int64_t{3}},
      {"enable_streaming", true},
      {"max_memory_limit_mb", int64_t{64}},
      {"enable_markov_validation", true},
      {"smoothness_threshold", 0.5},
      {"log_violations", false},
      {"enable_boundary_smoothing", true},
      {"window_size", int64_t{9}},
      {"interpolation", std::string("sigmoid")},
      {"calibration_path", std::string("calibration.parquet")},
      {"activation_bits", int64_t{8}},
      {"activation_mode", std::string("static")},
      {"enable_activation_clipping", false},
      {"quality", std::string("high")},
      {"compensation", std::string("off")},
      {"rotation", std::string("off")},
      {"modules_to_not_compensate", Strings{"to_k"}},
      {"mode", std::string("base")},
      {"method", std::string("rtn")},
      {"error_norm", 2.5},
      {"components", Strings{"unet", "text_encoder"}},
      {"modules_to_not_convert", Strings{"re:^a"}},
      {"modules_to_convert", Strings{"b"}},
      {"layer_bit_widths", NamedInts{{"^b", 2}, {"a", 16}}},
      {"target_bits_per_weight", 3.5},
      {"target_size_mb", 1500.0},
      {"on_nonfinite", std::string("keep")},
      {"variant", std::string("fp16")},
      {"max_part_size_mb", int64_t{64}},
      {"overwrite", true},
  };
  ASSERT_EQ(cases.size(), config_field_docs().size());
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto& [name, value] = cases[i];
    EXPECT_EQ(config_field_docs()[i].name, name);
    DiffusionQuantConfig config;
    EXPECT_NE(config_get(config, name), value) << name << ": the case sets the default";
    config_set(config, name, value);
    EXPECT_EQ(config_get(config, name), value) << name;
    EXPECT_NE(config, DiffusionQuantConfig()) << name;
    EXPECT_NO_THROW(config.validate()) << name;
  }
}

TEST(OptionsTest, AFlatNameAndAPathAreViewsOfOneValue) {
  DiffusionQuantConfig config;
  config_set(config, "markov_weight", 0.5);
  EXPECT_EQ(config.thermodynamic.transition_optimization.markov_weight, 0.5);
  config_set(config, "thermodynamic.boundary_smoothing.interpolation", std::string("cubic"));
  EXPECT_EQ(config.thermodynamic.boundary_smoothing.interpolation, InterpolationMethod::Cubic);
  EXPECT_EQ(config_get(config, "interpolation"), ConfigValue(std::string("cubic")));
}

TEST(OptionsTest, DefaultsInTheDocsAreThoseOfTheStruct) {
  const DiffusionQuantConfig defaults;
  for (const FieldDoc& field : config_field_docs()) {
    EXPECT_EQ(field.default_value, config_get(defaults, field.name)) << field.name;
    EXPECT_NE(field.doc, "") << field.name;
  }
}

TEST(OptionsTest, DocsTellWhatIsAllowed) {
  const FieldDoc& bits = config_field_docs()[0];
  EXPECT_EQ(bits.alias, "bits");
  EXPECT_EQ(bits.allowed, "2, 4, 8");
  EXPECT_THAT(bits.choices, ElementsAre("2", "4", "8"));
  const FieldDoc& modality = config_field_docs()[1];
  EXPECT_TRUE(modality.nullable);
  EXPECT_THAT(modality.choices, ElementsAre("text", "code", "image", "audio"));
}

TEST(OptionsTest, OnlyOptionsThatCanChangeTheOutputSaySo) {
  Strings others;
  for (const FieldDoc& field : config_field_docs()) {
    if (!field.changes_output) {
      others.push_back(field.name);
    }
  }
  EXPECT_THAT(others,
              testing::IsSupersetOf({"deployment_profile", "fail_fast", "num_threads",
                                     "enable_streaming", "max_memory_limit_mb", "overwrite"}));
  for (const char* const name : {"bit_width", "modality", "group_size", "min_accuracy", "method",
                                 "components", "variant", "max_part_size_mb"}) {
    EXPECT_THAT(others, testing::Not(testing::Contains(name)));
  }
}

TEST(OptionsTest, OnlyOneTargetCanHold) {
  DiffusionQuantConfig config;
  config.target_bits_per_weight = 3;
  EXPECT_NO_THROW(config.validate());
  config.target_size_mb = 200;
  EXPECT_EQ(message_of([&] { config.validate(); }),
            "target_bits_per_weight = 3.0 and target_size_mb = 200.0: only one of the two can "
            "hold; give one");
}

TEST(OptionsTest, TheNumbersOfAMapAreAllowedOnes) {
  DiffusionQuantConfig config;
  config.layer_bit_widths = {{"a", 2}, {"b", 3}};
  EXPECT_EQ(message_of([&] { config.validate(); }),
            "layer_bit_widths = {\"b\": 3}: allowed are 2, 4, 8, 16");
  config.layer_bit_widths = {{"a", 2}, {"", 4}};
  EXPECT_THAT(message_of([&] { config.validate(); }), testing::HasSubstr("must not be empty"));
  config.layer_bit_widths = {{"a", 2}, {"a", 4}};
  EXPECT_THAT(message_of([&] { config.validate(); }), testing::HasSubstr("twice"));
}

TEST(OptionsTest, BitsIsAnotherNameOfBitWidth) {
  DiffusionQuantConfig config;
  config_set(config, "bits", int64_t{2});
  EXPECT_EQ(config.bit_width, 2);
  EXPECT_EQ(config_get(config, "bits"), ConfigValue(int64_t{2}));
}

TEST(OptionsTest, NullUnsetsWhatCanBeUnset) {
  DiffusionQuantConfig config;
  config.modality = Modality::Text;
  config.variant = "fp16";
  config.components = {"unet"};
  for (const char* const name : {"modality", "variant", "components"}) {
    config_set(config, name, {});
  }
  EXPECT_EQ(config, DiffusionQuantConfig());
}

TEST(OptionsTest, AnIntegerServesWhereANumberIsNeeded) {
  DiffusionQuantConfig config;
  config_set(config, "error_norm", int64_t{4});
  EXPECT_EQ(config.error_norm, 4.0);
}

TEST(OptionsTest, ValuesOfTheWrongTypeAreRefusedInWords) {
  struct Case {
    std::string name;
    ConfigValue value;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"group_size", std::string("big"),
       "group_size = \"big\": an integer is needed; allowed are 32, 64, 128, 256"},
      {"group_size", 128.0,
       "group_size = 128.0: an integer is needed; allowed are 32, 64, 128, 256"},
      {"group_size", true, "group_size = true: an integer is needed; allowed are 32, 64, 128, 256"},
      {"num_threads", {}, "num_threads = null: an integer is needed; allowed is 0 … 1024"},
      {"min_accuracy", std::string("0.5"),
       "min_accuracy = \"0.5\": a number is needed; allowed is 0 … 1"},
      {"min_accuracy", false, "min_accuracy = false: a number is needed; allowed is 0 … 1"},
      {"fail_fast", int64_t{1}, "fail_fast = 1: allowed are true, false"},
      {"fail_fast", std::string("yes"), "fail_fast = \"yes\": allowed are true, false"},
      {"method", std::string("MSE"), "method = \"MSE\": allowed are rtn, mse"},
      {"modality", std::string("video"),
       "modality = \"video\": allowed are text, code, image, audio"},
      {"deployment_profile", {}, "deployment_profile = null: allowed are edge, local, cloud"},
      {"variant", int64_t{16}, "variant = 16: a string is needed, such as \"name\""},
      {"components", std::string("unet"),
       "components = \"unet\": a list of strings is needed, such as [\"name\"]"},
  };
  for (const auto& [name, value, message] : cases) {
    DiffusionQuantConfig config;
    EXPECT_EQ(message_of([&] { config_set(config, name, value); }), message);
    EXPECT_EQ(config, DiffusionQuantConfig()) << message;
  }
}

TEST(OptionsTest, ABitWidthOfTheWrongTypeIsAnInvalidBitWidth) {
  DiffusionQuantConfig config;
  EXPECT_EQ(message_of([&] { config_set(config, "bits", std::string("four")); },
                       ErrorCode::InvalidBitWidth),
            "bit_width = \"four\": an integer is needed; allowed are 2, 4, 8");
}

TEST(OptionsTest, UnknownNamesSuggestTheNearest) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"bit_widht", "bit_width"},
      {"Group-Size", "group_size"},
      {"num_thread", "num_threads"},
      {"bit", "bits"},
      {"min_acuracy", "min_accuracy"},
      {"module_to_not_convert", "modules_to_not_convert"},
      {"thermodynamics", "thermodynamic"},
      {"thermodynamic.validation.enable", "thermodynamic.validation.enabled"},
  };
  for (const auto& [name, nearest] : cases) {
    EXPECT_EQ(message_of([&] { config_field_name(name); }),
              "unknown option \"" + name + "\": did you mean " + nearest + "?");
  }
  EXPECT_THAT(message_of([] { config_field_name(std::string(1 << 20, 'x')); }),
              testing::HasSubstr("allowed are bit_width, bits, modality, num_time_groups, "));
}

TEST(OptionsTest, GivenValuesWinOverTheProfileWhateverTheirOrder) {
  const GivenOption bits{"bits", int64_t{8}, ""};
  const GivenOption edge{"deployment_profile", std::string("edge"), ""};
  DiffusionQuantConfig expected = DiffusionQuantConfig::from_profile(DeploymentProfile::Edge);
  expected.bit_width = 8;
  EXPECT_EQ(apply_options({bits, edge}), expected);
  EXPECT_EQ(apply_options({edge, bits}), expected);
}

TEST(OptionsTest, LaterValuesWinOverEarlierOnesProfilesIncluded) {
  const std::vector<GivenOption> given = {
      {"deployment_profile", std::string("edge"), "f.yaml:1"},
      {"group_size", int64_t{32}, "f.yaml:2"},
      {"deployment_profile", std::string("cloud"), "--profile"},
  };
  DiffusionQuantConfig expected = DiffusionQuantConfig::from_profile(DeploymentProfile::Cloud);
  expected.group_size = 32;
  EXPECT_EQ(apply_options(given), expected);
}

TEST(OptionsTest, MessagesSayWhereAValueWasGiven) {
  const std::vector<GivenOption> wrong_type = {{"group_size", std::string("x"), "f.yaml:2"}};
  EXPECT_EQ(message_of([&] { apply_options(wrong_type); }),
            "f.yaml:2: group_size = \"x\": an integer is needed; allowed are 32, 64, 128, 256");
  const std::vector<GivenOption> not_allowed = {{"group_size", int64_t{32}, "f.yaml:2"},
                                                {"group_size", int64_t{33}, "--group-size"}};
  EXPECT_EQ(message_of([&] { validate_options(apply_options(not_allowed), not_allowed); }),
            "--group-size: group_size = 33: allowed are 32, 64, 128, 256");
}

TEST(OptionsTest, LongValuesAreCutInMessages) {
  DiffusionQuantConfig config;
  const std::string message =
      message_of([&] { config_set(config, "method", std::string(79, 'a') + "äää"); });
  // 80 bytes end inside the first "ä", which is left out.
  EXPECT_EQ(message, "method = \"" + std::string(79, 'a') + "…\": allowed are rtn, mse");
}

}  // namespace
}  // namespace arrow_quant
