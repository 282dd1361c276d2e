// The schedule of the search for scale and offset: which grids it starts from and how it goes on.
// Found by trial on gaussian and heavy-tailed groups: within 0.15 dB of sixteen starts with three
// rounds each, at a fifth of the cost.
#pragma once

#include <array>
#include <cstddef>

namespace arrow_quant::kernels {

// A least squares system counts as singular below this ratio of determinant to product.
inline constexpr float kSingular = 1e-5f;

// Groups of a smaller radius are not searched, but get their range's parameters.
inline constexpr float kLeastRadius = 0x1p-100f;

// Part of the loss of the range's grid that a search must gain, or that grid stays: more than what
// 16 bits make a loss wrong by.
inline constexpr float kLeastGain = 0.01f;

// The numbers of the search: a weight in steps of a grid, counted from its middle, has
// kFractionBits behind the point and saturates at 16 bits. Its distance from a code has
// kDistanceBits. Grids outside which a weight lies by more than kMostExcess steps are not
// considered: up to there, four products of distance and weighted distance fit 32 bits.
template <int kBits>
struct FixedPoint;

template <>
struct FixedPoint<2> {
  static constexpr int kFractionBits = 12;
  static constexpr int kDistanceBits = 12;
  static constexpr float kMiddle = 1.5f;  // of the codes
  static constexpr float kMostExcess = 5.0f;
  // From 1 / 32767 of a radius in steps to 1 / 2^kFractionBits of a step, after a product >> 15.
  static constexpr float kFactor = 0x1p27f / 32767.0f;
};

template <>
struct FixedPoint<4> {
  static constexpr int kFractionBits = 11;
  static constexpr int kDistanceBits = 11;
  static constexpr float kMiddle = 7.5f;
  static constexpr float kMostExcess = 7.0f;
  static constexpr float kFactor = 0x1p26f / 32767.0f;
};

template <>
struct FixedPoint<8> {
  static constexpr int kFractionBits = 8;
  static constexpr int kDistanceBits = 11;
  static constexpr float kMiddle = 0.0f;
  static constexpr float kMostExcess = 0.5f;
  static constexpr float kFactor = 0x1p23f / 32767.0f;
};

template <int kBits>
struct SearchPlan;

template <>
struct SearchPlan<2> {
  static constexpr std::array<float, 1> kShrinks = {0.6f};  // of the half range, around its middle
  static constexpr size_t kNumDeviations = 2;
  static constexpr std::array<float, 2> kDeviations = {1.7f, 1.45f};  // around the mean
  static constexpr int kRounds = 2;
  static constexpr float kRelaxation = 1.0f;  // how far a round goes toward its solution
};

template <>
struct SearchPlan<4> {
  // At equal distances from each other and from the range: the search goes on from the vertex of
  // the parabola through the three losses.
  static constexpr std::array<float, 2> kShrinks = {0.85f, 0.7f};
  static constexpr size_t kNumDeviations = 0;
  static constexpr std::array<float, 0> kDeviations = {};
  static constexpr int kRounds = 2;
  static constexpr float kRelaxation = 1.5f;
};

template <>
struct SearchPlan<8> {
  static constexpr int kRounds = 1;
  static constexpr float kRelaxation = 1.0f;
};

}  // namespace arrow_quant::kernels
