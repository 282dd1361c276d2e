#include "arrow_quant/pipeline/activation_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "arrow_quant/diffusion/activation_quantizer.h"
#include "arrow_quant/pipeline/activation_phases.h"

namespace arrow_quant {
namespace {

constexpr size_t kCols = 48;
constexpr size_t kSteps = 12;

// Bell-shaped values; sums of uniform bits are the same with every standard library.
class Bell {
 public:
  explicit Bell(unsigned seed) : random_(seed) {}
  double operator()() {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random_()) / 4294967296.0;
    return sum - 6;
  }

 private:
  std::mt19937 random_;
};

WeightSketch any_sketch() {
  WeightSketch sketch(kCols);
  Bell bell(7);
  for (size_t row = 0; row < 64; ++row) {
    std::vector<float> weights(kCols);
    for (float& weight : weights) weight = static_cast<float>(bell());
    // The column with the outliers hardly matters to the outputs.
    weights[0] *= 0.01f;
    sketch.add_row(row, weights);
  }
  return sketch;
}

// What rows look like: how widely they spread at a step, and how far column 0 lies out.
struct Look {
  double spread = 1;
  double outlier = 0;
};

SampledRows sample(const std::vector<Look>& looks, size_t trajectories, size_t rows_each,
                   unsigned seed) {
  Bell bell(seed);
  SampledRows rows;
  for (size_t t = 0; t < looks.size(); ++t) {
    for (size_t r = 0; r < trajectories * rows_each; ++r) {
      for (size_t j = 0; j < kCols; ++j) {
        const double far = j == 0 ? looks[t].outlier : 0;
        rows.x.push_back(static_cast<float>(looks[t].spread * (bell() + far)));
      }
      rows.step.push_back(static_cast<int32_t>(t));
      rows.trajectory.push_back(static_cast<int32_t>(r % trajectories));
    }
  }
  return rows;
}

std::vector<StepBlend> jumping(const std::vector<size_t>& begins) {
  std::vector<StepBlend> blends;
  for (size_t t = 0, group = 0; t < kSteps; ++t) {
    if (group + 1 < begins.size() && begins[group + 1] == t) ++group;
    blends.push_back({group, 0});
  }
  return blends;
}

// Two groups: inputs with outliers first, without them afterwards.
class ActivationChoosing : public ::testing::Test {
 protected:
  void look(const std::vector<Look>& looks, size_t trajectories = 4, size_t rows_each = 8) {
    calibrating_.emplace(sample(looks, trajectories, rows_each, 1), kCols, kSteps,
                         ActivationRows::Pick{});
    held_out_.emplace(sample(looks, trajectories, rows_each, 2), kCols, kSteps,
                      ActivationRows::Pick{});
  }
  ActivationTask task(ActMode mode, int bits) {
    blends_ = jumping(begins_);
    ActivationTask task;
    task.scheme = {mode, bits};
    task.calibrating = &*calibrating_;
    task.held_out = &*held_out_;
    task.sketch = &sketch_;
    task.time = {begins_, couplings_, blends_, {}, false};
    task.phases = &phases_;
    return task;
  }
  static std::vector<Look> outliers_first() {
    std::vector<Look> looks(kSteps);
    for (size_t t = 0; t < kSteps / 2; ++t) looks[t].outlier = 40;
    return looks;
  }
  static const StepReport* step(const ActivationChoice& choice, const std::string& name) {
    const auto found = std::find_if(choice.steps.begin(), choice.steps.end(),
                                    [&](const StepReport& report) { return report.name == name; });
    return found == choice.steps.end() ? nullptr : &*found;
  }

  WeightSketch sketch_ = any_sketch();
  std::vector<size_t> begins_ = {0, kSteps / 2};
  std::vector<double> couplings_ = {0.5};
  std::vector<StepBlend> blends_;
  ThermodynamicConfig phases_;
  std::optional<ActivationRows> calibrating_, held_out_;
};

TEST_F(ActivationChoosing, GroupsWithOutliersAreClippedAndOthersHardly) {
  look(outliers_first());
  const ActivationChoice choice = choose_activation(task(ActMode::Dynamic, 4));
  ASSERT_EQ(choice.act.size(), 2u);
  EXPECT_LT(choice.act[0].clip, 0.6f);
  EXPECT_GE(choice.act[1].clip, 0.7f);
  const StepReport* const clip = step(choice, "clip");
  ASSERT_NE(clip, nullptr);
  EXPECT_TRUE(clip->accepted);
  EXPECT_LT(clip->error_after, 0.98 * clip->error_before);
}

TEST_F(ActivationChoosing, NothingIsClippedAtEightBitsOrAfterARotation) {
  look(outliers_first());
  ActivationTask rotated = task(ActMode::Dynamic, 4);
  rotated.may_clip = false;
  ActivationTask eight_bits = rotated;
  eight_bits.may_clip = true;
  eight_bits.scheme.bits = 8;
  for (const ActivationTask& unsearched : {eight_bits, rotated}) {
    const ActivationChoice choice = choose_activation(unsearched);
    ASSERT_EQ(choice.act.size(), 1u);
    EXPECT_EQ(choice.act[0], ActivationRange());
    EXPECT_TRUE(choice.steps.empty());
  }
}

TEST_F(ActivationChoosing, AClipThatHeldOutRowsDoNotConfirmIsNotTaken) {
  look(outliers_first());
  held_out_.emplace(sample(std::vector<Look>(kSteps, {1, 0}), 4, 8, 3), kCols, kSteps,
                    ActivationRows::Pick{});
  const ActivationChoice choice = choose_activation(task(ActMode::Dynamic, 4));
  ASSERT_EQ(choice.steps.size(), 1u);
  EXPECT_FALSE(choice.steps[0].accepted);
  ASSERT_EQ(choice.act.size(), 1u);
  EXPECT_EQ(choice.act[0].clip, 1.0f);
}

TEST_F(ActivationChoosing, StaticRangesAtFourBitsFollowTheGroups) {
  std::vector<Look> looks(kSteps);
  for (size_t t = 0; t < kSteps / 2; ++t) looks[t].spread = 5;
  look(looks);
  const ActivationChoice choice = choose_activation(task(ActMode::Static, 4));
  ASSERT_EQ(choice.act.size(), 2u);
  EXPECT_NEAR(choice.act[0].scale / choice.act[1].scale, 5, 1.5);
  for (const ActivationRange& range : choice.act) {
    EXPECT_EQ(range.clip, 1.0f);
    EXPECT_EQ(range.zero_point, std::nearbyint(range.zero_point));
  }
  for (const char* name : {"static range", "ranges of groups"}) {
    ASSERT_NE(step(choice, name), nullptr);
    EXPECT_TRUE(step(choice, name)->accepted);
  }
}

TEST_F(ActivationChoosing, OneStaticRangeServesAllTimesWhereThoseOfGroupsCostHeldOutRowsMore) {
  std::vector<Look> looks(kSteps);
  for (size_t t = 0; t < kSteps / 2; ++t) looks[t].spread = 5;
  look(looks);
  held_out_.emplace(sample(std::vector<Look>(kSteps, {5, 0}), 4, 8, 2), kCols, kSteps,
                    ActivationRows::Pick{});
  const ActivationChoice choice = choose_activation(task(ActMode::Static, 4));
  ASSERT_EQ(choice.act.size(), 1u);
  EXPECT_FALSE(step(choice, "ranges of groups")->accepted);
}

TEST_F(ActivationChoosing, StaticRangesAtEightBitsAreWidenedWhereASampleFallsShort) {
  const std::vector<Look> looks(kSteps);
  look(looks);
  held_out_.emplace(sample(std::vector<Look>(kSteps, {1.25, 0}), 4, 8, 3), kCols, kSteps,
                    ActivationRows::Pick{});
  const ActivationChoice choice = choose_activation(task(ActMode::Static, 8));
  EXPECT_TRUE(choice.steps[0].accepted || choice.steps[1].accepted);
  const ValueRange whole = extremes_of(*calibrating_);
  const float plain = static_quantizer(whole, 8).scale;
  for (const ActivationRange& range : choice.act) EXPECT_GT(range.scale, 1.05f * plain);
}

TEST_F(ActivationChoosing, RangesOfAllInputsAreTakenWhereTheyAreKnown) {
  look(std::vector<Look>(kSteps));
  std::vector<ValueRange> ranges(kSteps, {-6, 6});
  ranges[0] = {-60, 60};
  ActivationTask wide = task(ActMode::Static, 8);
  wide.step_ranges = ranges;
  const ActivationChoice choice = choose_activation(wide);
  ASSERT_EQ(choice.act.size(), 2u);
  EXPECT_NEAR(choice.act[0].scale, 120.0 / 255, 1e-6);
  EXPECT_NEAR(choice.act[1].scale, 12.0 / 255, 1e-6);
}

TEST_F(ActivationChoosing, SmoothingIsReportedAndGoesIntoEveryError) {
  look(outliers_first());
  ActivationTask smooth = task(ActMode::Dynamic, 4);
  const std::vector<StepBlend> smoothed =
      blend_steps({begins_, kSteps, InterpolationMethod::Linear, 5});
  smooth.time.smoothed = smoothed;
  const ActivationChoice refused = choose_activation(smooth);
  smooth.time.smooth = true;
  const ActivationChoice taken = choose_activation(smooth);
  const StepReport* const before = step(refused, "boundary smoothing");
  const StepReport* const after = step(taken, "boundary smoothing");
  ASSERT_NE(before, nullptr);
  ASSERT_NE(after, nullptr);
  EXPECT_FALSE(before->accepted);
  EXPECT_TRUE(after->accepted);
  EXPECT_EQ(before->error_after, after->error_after);
  EXPECT_EQ(step(refused, "clip")->error_after, before->error_before);
  EXPECT_EQ(step(taken, "clip")->error_after, after->error_after);
}

TEST_F(ActivationChoosing, FewRowsAreSteadiedOnlyWhereHeldOutRowsGain) {
  look(std::vector<Look>(kSteps), 4, 1);
  begins_ = {0, 2, 4, 6, 8, 10};
  couplings_.assign(5, 0.9);
  phases_.boundary_smoothing.enabled = true;
  const ActivationChoice choice = choose_activation(task(ActMode::Static, 8));
  const StepReport* const steadied = step(choice, "markov smoother");
  ASSERT_NE(steadied, nullptr);
  EXPECT_EQ(steadied->accepted,
            steadied->error_after <= (1 - phase_gate(4)) * steadied->error_before);

  look(std::vector<Look>(kSteps), 8, 4);  // 64 rows in each group
  EXPECT_EQ(step(choose_activation(task(ActMode::Static, 8)), "markov smoother"), nullptr);
}

TEST_F(ActivationChoosing, OptimizingTransitionsNeverCostsTheRowsThatJudgeIt) {
  look(outliers_first());
  phases_.transition_optimization.enabled = true;
  size_t tried = 0;
  for (const ActMode mode : {ActMode::Dynamic, ActMode::Static}) {
    for (const int bits : {4, 8}) {
      const ActivationChoice choice = choose_activation(task(mode, bits));
      const StepReport* const optimized = step(choice, "transition optimization");
      if (optimized == nullptr) continue;
      ++tried;
      EXPECT_EQ(optimized->accepted,
                optimized->error_after <= 0.9 * optimized->error_before);
    }
  }
  EXPECT_GE(tried, 1u);
}

TEST_F(ActivationChoosing, OneHeldOutTrajectoryIsTooFewForAnyPhase) {
  EXPECT_EQ(phase_gate(1), 1);
  EXPECT_DOUBLE_EQ(phase_gate(2), 0.055);
  look(outliers_first(), 1, 16);
  phases_.boundary_smoothing.enabled = true;
  phases_.transition_optimization.enabled = true;
  size_t tried = 0;
  for (const int bits : {4, 8}) {
    const ActivationChoice choice = choose_activation(task(ActMode::Static, bits));
    for (const char* name : {"markov smoother", "transition optimization"}) {
      const StepReport* const phase = step(choice, name);
      if (phase == nullptr) continue;
      ++tried;
      EXPECT_FALSE(phase->accepted) << name;
    }
  }
  EXPECT_GE(tried, 1u);
}

TEST_F(ActivationChoosing, JumpsAreDiagnosedAndNothingElseChanges) {
  std::vector<Look> looks(kSteps);
  for (size_t t = 0; t < kSteps / 2; ++t) looks[t].spread = 5;
  look(looks);
  const ActivationChoice plain = choose_activation(task(ActMode::Static, 8));
  phases_.validation.enabled = true;
  const ActivationChoice diagnosed = choose_activation(task(ActMode::Static, 8));
  EXPECT_EQ(plain.act, diagnosed.act);
  EXPECT_FALSE(plain.diagnosis.has_value());
  ASSERT_TRUE(diagnosed.diagnosis.has_value());
  EXPECT_LT(diagnosed.diagnosis->score, 0.1);
  ASSERT_EQ(diagnosed.diagnosis->violations.size(), 1u);
  EXPECT_EQ(diagnosed.diagnosis->violations[0].cause, JumpCause::Real);
}

TEST_F(ActivationChoosing, OneGroupHasOneEntryAndAPerfectScore) {
  look(outliers_first());
  begins_ = {0};
  couplings_.clear();
  phases_.validation.enabled = true;
  for (const ActMode mode : {ActMode::Dynamic, ActMode::Static}) {
    const ActivationChoice choice = choose_activation(task(mode, 4));
    EXPECT_EQ(choice.act.size(), 1u);
    EXPECT_EQ(choice.diagnosis->score, 1);
  }
}

TEST(Deployed, RangesAreThoseOfTheStoredScaleAndZeroPoint) {
  const ActivationScheme scheme = {ActMode::Static, 4};
  const ActivationParameters groups = {{1, {-1, 2.3}}, {1, {-0.2, 9}}};
  const std::vector<StepBlend> blends = {{0, 0}, {0, 0.5}, {1, 0}};
  const ActivationParameters steps = deployed(scheme, groups, blends);
  EXPECT_EQ(static_quantizer(steps[0].range, 4), static_quantizer(groups[0].range, 4));
  EXPECT_EQ(static_quantizer(steps[2].range, 4), static_quantizer(groups[1].range, 4));
  EXPECT_GT(steps[1].range.width(), steps[0].range.width());
  EXPECT_LT(steps[1].range.width(), steps[2].range.width());
}

TEST(Deployed, ClipsAreInterpolatedInTheirLogarithm) {
  const ActivationParameters steps =
      deployed({ActMode::Dynamic, 4}, {{1, {}}, {0.25, {}}}, std::vector<StepBlend>{{0, 0.5}});
  EXPECT_NEAR(steps[0].clip, 0.5, 1e-12);
}

TEST(ActivationRows, LieInTheOrderOfTheirSteps) {
  SampledRows rows;
  for (const int step : {1, 0, 1, 1, 0}) {
    rows.step.push_back(step);
    rows.trajectory.push_back(static_cast<int32_t>(rows.step.size()) % 3);
    rows.x.push_back(static_cast<float>(rows.step.size()));
  }
  const ActivationRows all(rows, 1, 3, {});
  EXPECT_EQ(all.count(), 5u);
  EXPECT_EQ(std::vector<float>(all.at(0).begin(), all.at(0).end()), (std::vector<float>{2, 5}));
  EXPECT_EQ(std::vector<float>(all.of_steps(0, 2).begin(), all.of_steps(0, 2).end()),
            (std::vector<float>{2, 5, 1, 3, 4}));
  EXPECT_TRUE(all.at(2).empty());
  EXPECT_EQ(all.trajectories(), (std::vector<int32_t>{0, 1, 2}));
  const ActivationRows some = all.where([](size_t, int32_t trajectory) { return trajectory == 1; });
  EXPECT_EQ(std::vector<float>(some.at(1).begin(), some.at(1).end()), (std::vector<float>{1, 4}));
  EXPECT_EQ(all.where([](size_t place, int32_t) { return place == 1; }).count(), 2u);
  EXPECT_EQ(ActivationRows(rows, 1, 3, {{}, 1}).count(), 2u);
}

}  // namespace
}  // namespace arrow_quant
