#include "arrow_quant/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "arrow_quant/config/field_info.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

TEST(ConfigTest, ProfilesSetTheDefaultsOfTheReference) {
  struct Case {
    DeploymentProfile profile;
    int64_t bit_width;
    int64_t num_time_groups;
    int64_t group_size;
    double min_accuracy;
    int64_t calibration_samples;
    bool enable_streaming;
    int64_t max_memory_limit_mb;
  };
  for (const Case& c : {Case{DeploymentProfile::Edge, 2, 5, 256, 0.65, 32, true, 256},
                        Case{DeploymentProfile::Local, 4, 10, 128, 0.85, 128, false, 1024},
                        Case{DeploymentProfile::Cloud, 8, 20, 64, 0.95, 512, false, 4096}}) {
    DiffusionQuantConfig expected;
    expected.deployment_profile = c.profile;
    expected.bit_width = c.bit_width;
    expected.num_time_groups = c.num_time_groups;
    expected.group_size = c.group_size;
    expected.min_accuracy = c.min_accuracy;
    expected.calibration_samples = c.calibration_samples;
    expected.enable_streaming = c.enable_streaming;
    expected.max_memory_limit_mb = c.max_memory_limit_mb;
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
  const auto read_back = [](auto parse, const auto& enumerators) {
    for (const auto value : enumerators) {
      EXPECT_EQ(parse(to_string(value)), value) << to_string(value);
    }
    EXPECT_EQ(parse("Linear"), std::nullopt);
    EXPECT_EQ(parse(""), std::nullopt);
  };
  read_back(parse_deployment_profile, kEnumerators<DeploymentProfile>);
  read_back(parse_on_nonfinite, kEnumerators<OnNonFinite>);
  read_back(parse_quant_mode, kEnumerators<QuantMode>);
  read_back(parse_activation_mode, kEnumerators<ActivationMode>);
  read_back(parse_quality, kEnumerators<Quality>);
  read_back(parse_interpolation_method, kEnumerators<InterpolationMethod>);
  read_back(parse_beta_schedule, kEnumerators<BetaSchedule>);
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
      {[](Config& c) { c.num_time_groups = 0; }, ErrorCode::Configuration,
       "num_time_groups = 0: allowed is 1 … 1000"},
      {[](Config& c) { c.num_time_groups = 1001; }, ErrorCode::Configuration,
       "num_time_groups = 1001: allowed is 1 … 1000"},
      {[](Config& c) { c.calibration_samples = 0; }, ErrorCode::Configuration,
       "calibration_samples = 0: allowed is ≥ 1"},
      {[](Config& c) { c.max_memory_limit_mb = 0; }, ErrorCode::Configuration,
       "max_memory_limit_mb = 0: allowed is ≥ 1"},
      {[](Config& c) { c.activation_bits = 2; }, ErrorCode::Configuration,
       "activation_bits = 2: allowed are 4, 8"},
      {[](Config& c) { c.calibration_path = ""; }, ErrorCode::Configuration,
       "calibration_path = \"\": it must not be empty; leave it out instead"},
      {[](Config& c) { c.thermodynamic.validation.smoothness_threshold = 1.5; },
       ErrorCode::Configuration, "smoothness_threshold = 1.5: allowed is 0 … 1"},
      {[](Config& c) { c.thermodynamic.boundary_smoothing.window_size = 0; },
       ErrorCode::Configuration, "window_size = 0: allowed is 1 … 1000"},
      {[](Config& c) { c.thermodynamic.transition_optimization.markov_weight = -1; },
       ErrorCode::Configuration, "markov_weight = -1.0: allowed is ≥ 0"},
      {[=](Config& c) { c.thermodynamic.transition_optimization.markov_weight = HUGE_VAL; },
       ErrorCode::Configuration, "markov_weight = inf: allowed is ≥ 0"},
      {[=](Config& c) { c.thermodynamic.transition_optimization.entropy_weight = kNaN; },
       ErrorCode::Configuration, "entropy_weight = nan: allowed is ≥ 0"},
      {[](Config& c) { c.thermodynamic.transition_optimization.learning_rate = 0; },
       ErrorCode::Configuration, "learning_rate = 0.0: allowed is > 0"},
      {[](Config& c) { c.thermodynamic.transition_optimization.max_iterations = -1; },
       ErrorCode::Configuration, "max_iterations = -1: allowed is ≥ 0"},
      {[](Config& c) { c.thermodynamic.transition_optimization.convergence_threshold = 0; },
       ErrorCode::Configuration, "convergence_threshold = 0.0: allowed is > 0"},
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
      [](auto& c) { c.min_accuracy = 0; },
      [](auto& c) { c.min_accuracy = 1; },
      [](auto& c) { c.num_threads = 1024; },
      [](auto& c) { c.error_norm = 2.5; },
      [](auto& c) { c.max_part_size_mb = 1; },
      [](auto& c) { c.max_part_size_mb = 1048576; },
      [](auto& c) { c.num_time_groups = 1; },
      [](auto& c) { c.num_time_groups = 1000; },
      [](auto& c) { c.calibration_samples = 1; },
      [](auto& c) { c.activation_bits = 8; },
      [](auto& c) { c.thermodynamic.validation.smoothness_threshold = 1; },
      [](auto& c) { c.thermodynamic.boundary_smoothing.window_size = 1; },
      [](auto& c) { c.thermodynamic.transition_optimization.markov_weight = 0; },
      [](auto& c) { c.thermodynamic.transition_optimization.max_iterations = 0; },
  };
  for (const auto& change : changes) {
    DiffusionQuantConfig config;
    change(config);
    EXPECT_NO_THROW(config.validate());
  }
}

}  // namespace
}  // namespace arrow_quant
