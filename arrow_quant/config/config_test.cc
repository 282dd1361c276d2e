#include "arrow_quant/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

TEST(ConfigTest, ProfilesSetTheDefaultsOfTheReference) {
  struct Case {
    DeploymentProfile profile;
    int64_t bit_width;
    int64_t group_size;
    double min_accuracy;
  };
  for (const Case& c :
       {Case{DeploymentProfile::Edge, 2, 256, 0.65}, Case{DeploymentProfile::Local, 4, 128, 0.85},
        Case{DeploymentProfile::Cloud, 8, 64, 0.95}}) {
    DiffusionQuantConfig expected;
    expected.deployment_profile = c.profile;
    expected.bit_width = c.bit_width;
    expected.group_size = c.group_size;
    expected.min_accuracy = c.min_accuracy;
    EXPECT_EQ(DiffusionQuantConfig::from_profile(c.profile), expected) << to_string(c.profile);
  }
}

TEST(ConfigTest, TheDefaultIsTheLocalProfile) {
  EXPECT_EQ(DiffusionQuantConfig(), DiffusionQuantConfig::from_profile(DeploymentProfile::Local));
}

TEST(ConfigTest, EveryProfileIsValid) {
  for (const auto profile :
       {DeploymentProfile::Edge, DeploymentProfile::Local, DeploymentProfile::Cloud}) {
    EXPECT_NO_THROW(DiffusionQuantConfig::from_profile(profile).validate());
  }
}

TEST(ConfigTest, NamesOfEnumeratorsReadBack) {
  for (const auto profile :
       {DeploymentProfile::Edge, DeploymentProfile::Local, DeploymentProfile::Cloud}) {
    EXPECT_EQ(parse_deployment_profile(to_string(profile)), profile);
  }
  for (const auto choice : {OnNonFinite::Error, OnNonFinite::Keep}) {
    EXPECT_EQ(parse_on_nonfinite(to_string(choice)), choice);
  }
  EXPECT_EQ(parse_deployment_profile("Edge"), std::nullopt);
  EXPECT_EQ(parse_on_nonfinite(""), std::nullopt);
}

struct Invalid {
  std::function<void(DiffusionQuantConfig&)> change;
  ErrorCode code;
  std::string message;
};

TEST(ConfigTest, ValidateNamesTheFieldItsValueAndWhatIsAllowed) {
  using Config = DiffusionQuantConfig;
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Invalid> cases = {
      {[](Config& c) { c.bit_width = 3; }, ErrorCode::InvalidBitWidth,
       "bit_width = 3: allowed are 2, 4, 8"},
      {[](Config& c) { c.bit_width = 0; }, ErrorCode::InvalidBitWidth,
       "bit_width = 0: allowed are 2, 4, 8"},
      {[](Config& c) { c.group_size = 100; }, ErrorCode::Configuration,
       "group_size = 100: allowed are 32, 64, 128, 256"},
      {[](Config& c) { c.min_accuracy = 1.5; }, ErrorCode::Configuration,
       "min_accuracy = 1.5: allowed is 0 … 1"},
      {[](Config& c) { c.min_accuracy = -0.1; }, ErrorCode::Configuration,
       "min_accuracy = -0.1: allowed is 0 … 1"},
      {[=](Config& c) { c.min_accuracy = kNaN; }, ErrorCode::Configuration,
       "min_accuracy = nan: allowed is 0 … 1"},
      {[](Config& c) { c.num_threads = -1; }, ErrorCode::Configuration,
       "num_threads = -1: allowed is 0 … 1024"},
      {[](Config& c) { c.num_threads = 1025; }, ErrorCode::Configuration,
       "num_threads = 1025: allowed is 0 … 1024"},
      {[](Config& c) { c.error_norm = 1; }, ErrorCode::Configuration,
       "error_norm = 1.0: allowed are 2, 2.5, 3, 4"},
      {[](Config& c) { c.max_part_size_mb = 0; }, ErrorCode::Configuration,
       "max_part_size_mb = 0: allowed is 1 … 1048576"},
      {[](Config& c) { c.variant = ""; }, ErrorCode::Configuration,
       "variant = \"\": it must not be empty; leave it out instead"},
      {[](Config& c) {
         c.components = {"unet", ""};
       },
       ErrorCode::Configuration, "components = [\"unet\", \"\"]: an entry must not be empty"},
  };
  for (const Invalid& c : cases) {
    DiffusionQuantConfig config;
    c.change(config);
    try {
      config.validate();
      ADD_FAILURE() << "accepted; expected " << c.message;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), c.message);
      EXPECT_EQ(error.code(), c.code) << c.message;
    }
  }
}

TEST(ConfigTest, ValidateTakesTheEdgesOfRanges) {
  const std::vector<std::function<void(DiffusionQuantConfig&)>> changes = {
      [](auto& c) { c.min_accuracy = 0; },     [](auto& c) { c.min_accuracy = 1; },
      [](auto& c) { c.num_threads = 1024; },   [](auto& c) { c.error_norm = 2.5; },
      [](auto& c) { c.max_part_size_mb = 1; }, [](auto& c) { c.max_part_size_mb = 1048576; },
  };
  for (const auto& change : changes) {
    DiffusionQuantConfig config;
    change(config);
    EXPECT_NO_THROW(config.validate());
  }
}

}  // namespace
}  // namespace arrow_quant
