#include "arrow_quant/quant/trial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "arrow_quant/quant/testing.h"
#include "arrow_quant/quant/transforms.h"

namespace arrow_quant {
namespace {

constexpr size_t kRows = 100, kCols = 96, kInputs = 60;

// What a layer does to its input before the codes meet it.
struct Case {
  const char* name;
  bool scaled, rotated;
};

class LowRankTrial : public ::testing::TestWithParam<Case> {
 protected:
  LowRankTrial() {
    if (GetParam().scaled) {
      for (size_t c = 0; c < kCols; ++c) {
        view.transform.input_scale.push_back(c % 3 == 0 ? 4.0f : 0.5f);
      }
    }
    view.transform.hadamard_block = GetParam().rotated ? 32 : 0;
    view.held_out = x;
    transform_inputs(view.transform, view.held_out.data(), kInputs, kCols);
    error.resize(kRows * kCols);
    error_of_rows(treatment, source, spec, 1.0f, error.data(), scratch);
    low_rank = fit_low_rank(error, kRows, {xtx, view.transform.input_scale}, 8);
  }

  // The weights that a reader restores, with the low rank or without.
  std::vector<float> restored(const LowRankView& correction, ErrorStats& stats) {
    const size_t row_bytes = packed_row_bytes(kCols, spec.bit_width);
    const size_t groups = groups_per_row(kCols, spec.group_size);
    std::vector<uint8_t> codes(kRows * row_bytes);
    std::vector<uint16_t> scales(kRows * groups), offsets(kRows * groups);
    RangeStats range;
    quantize_rows_as(treatment, correction, source, spec, 1.0f,
                     {codes.data(), row_bytes, scales.data(), offsets.data(), groups}, stats, range,
                     scratch);
    std::vector<Transform> order;
    if (GetParam().rotated) order.push_back(Transform::Hadamard);
    if (correction.rank > 0) order.push_back(Transform::LowRank);
    if (GetParam().scaled) order.push_back(Transform::InputScale);
    std::vector<float> weights(kRows * kCols);
    QuantizeScratch floats;
    dequantize_rows({codes.data(), row_bytes, scales.data(), offsets.data(), groups, kRows, kCols,
                     spec.bit_width, spec.group_size, 1.0f},
                    {order, view.transform.hadamard_block, correction.rank, correction.u,
                     correction.v, view.transform.input_scale.data()},
                    DType::F32, weights.data(), floats);
    return weights;
  }

  double error_of_outputs(const std::vector<float>& weights) const {
    double error_sq = 0, reference_sq = 0;
    for (size_t i = 0; i < kInputs; ++i) {
      for (size_t r = 0; r < kRows; ++r) {
        double reference = 0, deployed = 0;
        for (size_t c = 0; c < kCols; ++c) {
          reference += static_cast<double>(x[i * kCols + c]) * w[r * kCols + c];
          deployed += static_cast<double>(x[i * kCols + c]) * weights[r * kCols + c];
        }
        error_sq += (reference - deployed) * (reference - deployed);
        reference_sq += reference * reference;
      }
    }
    return error_sq / reference_sq;
  }

  const std::vector<float> w = testing::gaussian(kRows * kCols, 0.02f, 1);
  const std::vector<float> x = testing::mixed_inputs(kInputs, kCols, 2);
  const std::vector<float> xtx =
      testing::gram_triangle(testing::mixed_inputs(300, kCols, 7), kCols);
  const std::vector<int32_t> step = std::vector<int32_t>(kInputs, 0);
  const InputRows held_out{x, step, kCols};
  const RowsView source = testing::rows_view(w, kRows);
  const QuantizeSpec spec{BitWidth::Int2, 32};
  InputView view;
  const Treatment treatment{&view, {}};
  TrialScratch scratch;
  std::vector<float> error;
  LowRank low_rank;
};

INSTANTIATE_TEST_SUITE_P(Transforms, LowRankTrial,
                         ::testing::Values(Case{"none", false, false}, Case{"scaled", true, false},
                                           Case{"rotated", false, true}, Case{"both", true, true}),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(LowRankTrial, WeighsTheOutputsOfTheWeightsThatAReaderRestores) {
  ErrorStats unused;
  const std::vector<float> weights = restored(view_from_row(low_rank, 0), unused);
  const std::vector<float> inputs = low_rank_inputs(view.transform, held_out, low_rank);
  OutputError weighed(1);
  weigh_low_rank(treatment, view_from_row(low_rank, 0), inputs, held_out, source, error.data(),
                 weighed, scratch);
  EXPECT_NEAR(weighed.relative() / error_of_outputs(weights), 1, 1e-3);
}

TEST_P(LowRankTrial, MakesUpForMuchOfTheErrorOfOutputs) {
  ErrorStats without, with;
  const double before = error_of_outputs(restored({}, without));
  const double after = error_of_outputs(restored(view_from_row(low_rank, 0), with));
  EXPECT_LT(after, 0.6 * before);
}

TEST_P(LowRankTrial, ReportsTheErrorOfTheWeightsThatAReaderRestores) {
  ErrorStats stats;
  const std::vector<float> weights = restored(view_from_row(low_rank, 0), stats);
  EXPECT_NEAR(stats.sqnr_db(), testing::measured_sqnr_db(w, weights), 1e-6);
}

TEST_P(LowRankTrial, GivesTheSameErrorsForAnySplitIntoCalls) {
  std::vector<float> split(error.size());
  for (size_t row = 0; row < kRows; row += 30) {
    RowsView part = source;
    part.data = w.data() + row * kCols;
    part.rows = std::min<size_t>(30, kRows - row);
    error_of_rows(treatment, part, spec, 1.0f, split.data() + row * kCols, scratch);
  }
  EXPECT_EQ(split, error);
}

}  // namespace
}  // namespace arrow_quant
