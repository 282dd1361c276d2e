#include "arrow_quant/config/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

using Variables = std::map<std::string, std::string>;

// Variables that are set for a while.
class Environment {
 public:
  explicit Environment(Variables variables) : variables_(std::move(variables)) {
    for (const auto& [name, value] : variables_) {
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : variables_) {
      unsetenv(name.c_str());
    }
  }

 private:
  Variables variables_;
};

std::string message_for(const Variables& variables) {
  const Environment environment(variables);
  try {
    environment_options();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(EnvironmentTest, EveryOptionHasAVariable) {
  for (const FieldDoc& field : config_field_docs()) {
    const std::string name = field.kind == OptionKind::IntMap ? "name=" : "";
    const std::string text = field.kind == OptionKind::Bool ? "true"
                             : field.choices.empty()        ? "1"
                                                            : name + field.choices.back();
    const Environment environment(Variables{{environment_variable(field.name), text}});
    const std::vector<GivenOption> given = environment_options();
    ASSERT_EQ(given.size(), 1u) << field.name;
    EXPECT_EQ(given[0].name, field.name);
    EXPECT_EQ(given[0].where, environment_variable(field.name));
  }
}

TEST(EnvironmentTest, ValuesAreReadAsTheOptionsKind) {
  const std::vector<std::tuple<std::string, std::string, ConfigValue>> cases = {
      {"ARROW_QUANT_BIT_WIDTH", "2", int64_t{2}},
      {"ARROW_QUANT_BITS", "8", int64_t{8}},
      {"ARROW_QUANT_MIN_ACCURACY", "1", int64_t{1}},
      {"ARROW_QUANT_FAIL_FAST", "true", true},
      {"ARROW_QUANT_FAIL_FAST", "1", true},
      {"ARROW_QUANT_FAIL_FAST", "0", false},
      {"ARROW_QUANT_VARIANT", "16", std::string("16")},
      {"ARROW_QUANT_COMPONENTS", "unet,vae", std::vector<std::string>{"unet", "vae"}},
      {"ARROW_QUANT_INTERPOLATION", "cubic", std::string("cubic")},
      {"ARROW_QUANT_ACTIVATION_BITS", "null", {}},
  };
  for (const auto& [name, text, value] : cases) {
    const Environment environment(Variables{{name, text}});
    const std::vector<GivenOption> given = environment_options();
    ASSERT_EQ(given.size(), 1u) << name;
    EXPECT_EQ(given[0].value, value) << name << "=" << text;
  }
}

TEST(EnvironmentTest, WhatIsEmptyOrNoOptionIsNotAsked) {
  const Environment environment(
      Variables{{"ARROW_QUANT_BIT_WIDTH", ""}, {"ARROW_QUANT_HOME", "/"}, {"BIT_WIDTH", "8"}});
  EXPECT_TRUE(environment_options().empty());
}

TEST(EnvironmentTest, MessagesNameTheVariableItsValueAndWhatIsAllowed) {
  const std::vector<std::pair<Variables, std::string>> cases = {
      {{{"ARROW_QUANT_BIT_WIDTH", "3"}},
       "ARROW_QUANT_BIT_WIDTH: bit_width = 3: allowed are 2, 4, 8"},
      {{{"ARROW_QUANT_BITS", "four"}},
       "ARROW_QUANT_BITS: bit_width = \"four\": an integer is needed; allowed are 2, 4, 8"},
      {{{"ARROW_QUANT_FAIL_FAST", "yes"}},
       "ARROW_QUANT_FAIL_FAST: fail_fast = \"yes\": allowed are true, false"},
      {{{"ARROW_QUANT_COMPONENTS", "unet,"}},
       "ARROW_QUANT_COMPONENTS: components = [\"unet\", \"\"]: an entry must not be empty"},
      {{{"ARROW_QUANT_BITS", "4"}, {"ARROW_QUANT_BIT_WIDTH", "8"}},
       "ARROW_QUANT_BIT_WIDTH is \"8\" and ARROW_QUANT_BITS is \"4\", which are one option: unset "
       "one of them"},
  };
  for (const auto& [variables, message] : cases) {
    EXPECT_EQ(message_for(variables), message);
  }
}

TEST(EnvironmentTest, AFileWinsOverTheEnvironmentAndTheEnvironmentOverTheProfile) {
  const Environment environment(Variables{{"ARROW_QUANT_DEPLOYMENT_PROFILE", "edge"},
                                          {"ARROW_QUANT_GROUP_SIZE", "32"},
                                          {"ARROW_QUANT_MIN_ACCURACY", "0.5"}});
  const auto config = DiffusionQuantConfig::from_yaml_text("min_accuracy: 0.25\n", "c.yaml");
  auto expected = DiffusionQuantConfig::from_profile(DeploymentProfile::Edge);
  expected.group_size = 32;
  expected.min_accuracy = 0.25;
  EXPECT_EQ(config, expected);
}

TEST(EnvironmentTest, AConfigMadeInCppKnowsNothingOfIt) {
  const Environment environment(Variables{{"ARROW_QUANT_BIT_WIDTH", "8"}});
  EXPECT_EQ(DiffusionQuantConfig().bit_width, 4);
  EXPECT_EQ(DiffusionQuantConfig::from_profile(DeploymentProfile::Edge).bit_width, 2);
}

}  // namespace
}  // namespace arrow_quant
