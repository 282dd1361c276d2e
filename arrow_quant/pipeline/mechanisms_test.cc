#include "arrow_quant/pipeline/mechanisms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace arrow_quant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Config = DiffusionQuantConfig;

TEST(Mechanisms, WithoutCalibrationDataTheDefaultsAskForTwoThatAreNotApplied) {
  const Mechanisms mechanisms = choose_mechanisms({}, nullptr);
  for (const Mechanism& mechanism : {mechanisms.time_aware, mechanisms.spatial}) {
    EXPECT_TRUE(mechanism.asked);
    EXPECT_FALSE(mechanism.applied);
    EXPECT_EQ(mechanism.reason, "no calibration data");
  }
  EXPECT_FALSE(mechanisms.thermodynamic.asked);
  EXPECT_EQ(mechanisms.thermodynamic.reason,
            "validation, boundary smoothing and transition optimization are off");
  EXPECT_EQ(mechanisms.calibration, "none");
  EXPECT_THAT(mechanisms.warnings, IsEmpty());
}

TEST(Mechanisms, WhatIsOffSaysSo) {
  Config config;
  config.enable_time_aware = config.enable_spatial = false;
  const Mechanisms mechanisms = choose_mechanisms(config, nullptr);
  EXPECT_EQ(mechanisms.time_aware.reason, "enable_time_aware is off");
  EXPECT_EQ(mechanisms.spatial.reason, "enable_spatial is off");
  EXPECT_FALSE(mechanisms.time_aware.asked || mechanisms.spatial.asked);
}

TEST(Mechanisms, AModelWithoutTimestepsHasNothingThatDependsOnThem) {
  Config config;
  config.mode = QuantMode::Base;
  config.thermodynamic.validation.enabled = true;
  const Mechanisms mechanisms = choose_mechanisms(config, nullptr);
  EXPECT_FALSE(mechanisms.time_aware.asked || mechanisms.thermodynamic.asked);
  EXPECT_EQ(mechanisms.time_aware.reason, "mode is \"base\"");
  EXPECT_EQ(mechanisms.thermodynamic.reason, "mode is \"base\"");
  EXPECT_EQ(mechanisms.spatial.reason, "no calibration data");
  EXPECT_THAT(mechanisms.warnings,
              ElementsAre("validation, boundary smoothing or transition optimization had no "
                          "effect: mode is \"base\""));
}

TEST(Mechanisms, EachPhaseAsksForTheThermodynamicOne) {
  const std::vector<std::function<void(ThermodynamicConfig&)>> phases = {
      [](auto& t) { t.validation.enabled = true; },
      [](auto& t) { t.boundary_smoothing.enabled = true; },
      [](auto& t) { t.transition_optimization.enabled = true; },
  };
  for (const auto& enable : phases) {
    Config config;
    enable(config.thermodynamic);
    const Mechanisms mechanisms = choose_mechanisms(config, nullptr);
    EXPECT_TRUE(mechanisms.thermodynamic.asked);
    EXPECT_EQ(mechanisms.thermodynamic.reason, "no calibration data");
    EXPECT_THAT(mechanisms.warnings,
                ElementsAre("validation, boundary smoothing or transition optimization had no "
                            "effect: no calibration data"));
  }
}

TEST(Mechanisms, WhatWasAskedForAndCannotBeIsAWarning) {
  const std::vector<std::pair<std::function<void(Config&)>, std::string>> cases = {
      {[](Config& c) {
         c.activation_bits = 8;
         c.activation_mode = ActivationMode::Static;
       },
       "activation_bits had no effect: activation_mode \"static\" needs calibration data"},
      {[](Config& c) { c.activation_mode = ActivationMode::Static; },
       "activation_mode had no effect: activation_bits is not set"},
      {[](Config& c) { c.quality = Quality::High; },
       "quality = \"high\" had no effect: no calibration data"},
      {[](Config& c) {
         c.quality = Quality::High;
         c.target_bits_per_weight = 3;
       },
       "quality = \"high\" had no effect: bits are shared out by size, which its bytes would "
       "exceed"},
  };
  for (const auto& [change, warning] : cases) {
    Config config;
    change(config);
    EXPECT_THAT(choose_mechanisms(config, nullptr).warnings, ElementsAre(warning));
  }
}

TEST(Mechanisms, OnlyFinishedLayersTellWhetherALowRankServesAnyOfThem) {
  Config config;
  config.quality = Quality::High;
  Mechanisms begun;
  begun.spatial = begun.low_rank = {true, false, ""};
  LayerReport layer;
  layer.trials = {{"mse", 0.5, true}};
  const auto reason = [&] {
    Mechanisms mechanisms = begun;
    complete(mechanisms, config, {layer});
    EXPECT_EQ(mechanisms.low_rank.applied, mechanisms.low_rank.reason.empty());
    EXPECT_EQ(mechanisms.warnings.size(), mechanisms.low_rank.applied ? 0u : 1u);
    EXPECT_FALSE(mechanisms.spatial.applied);
    return mechanisms.low_rank.reason;
  };
  EXPECT_EQ(
      reason(),
      "it serves layers of 2 or 4 bits with XᵀX in the calibration data, within the memory limit");
  layer.trials.push_back({"mse, low rank 2", 0.5, false});
  EXPECT_EQ(reason(), "no layer's held-out error falls enough by it");
  layer.extras.rank = 2;
  layer.extras.transforms = {"low_rank"};
  EXPECT_EQ(reason(), "");
}

TEST(Mechanisms, OnlyFinishedLayersTellWhetherParametersDependOnTime) {
  Config config;
  config.activation_bits = 4;
  config.thermodynamic.boundary_smoothing.enabled = true;
  Mechanisms begun;
  begun.time_aware = begun.thermodynamic = {true, false, ""};
  LayerReport layer;
  layer.extras.act_groups = 1;
  layer.extras.act_mode = "static";
  Mechanisms without = begun;
  complete(without, config, {layer});
  EXPECT_FALSE(without.time_aware.applied || without.thermodynamic.applied);
  EXPECT_EQ(without.time_aware.reason, "one group of timesteps serves held-out rows as well");
  EXPECT_EQ(without.warnings.size(), 1u);

  layer.extras.act_groups = 3;
  layer.activation_steps = {{"clip", 0.5, 0.25, true}, {"boundary smoothing", 0.25, 0.3, false}};
  Mechanisms with = begun;
  complete(with, config, {layer});
  EXPECT_TRUE(with.time_aware.applied && with.thermodynamic.applied);
  EXPECT_EQ(with.time_aware.reason + with.thermodynamic.reason, "");
  EXPECT_THAT(with.warnings, IsEmpty());
}

TEST(Mechanisms, WhereParametersDoNotDependOnTimeTheReasonNamesWhatKeepsThemFromIt) {
  struct Case {
    int64_t bits;
    ActivationMode mode;
    bool clipping;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {4, ActivationMode::Dynamic, true, "one group of timesteps serves held-out rows as well"},
      {4, ActivationMode::Dynamic, false,
       "enable_activation_clipping is off: ranges are taken whole from each row"},
      {8, ActivationMode::Dynamic, false,
       "8 bit activations need no parameters: their ranges are taken from each row"},
      {4, ActivationMode::Static, false, "one group of timesteps serves held-out rows as well"},
  };
  for (const Case& c : cases) {
    Config config;
    config.activation_bits = c.bits;
    config.activation_mode = c.mode;
    config.enable_activation_clipping = c.clipping;
    Mechanisms mechanisms;
    mechanisms.time_aware = {true, false, ""};
    complete(mechanisms, config, {LayerReport{}});
    EXPECT_EQ(mechanisms.time_aware.reason, c.reason);
  }
}

}  // namespace
}  // namespace arrow_quant
