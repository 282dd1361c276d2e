// The schedule of the search for scale and offset: which grids it starts from and how it goes on.
// Found by trial on gaussian and heavy-tailed groups: within 0.15 dB of sixteen starts with three
// rounds each.
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

// The numbers of the search. Grids outside which a weight lies by more than most_excess steps are
// not considered: up to there, four products of distance and weighted distance fit 32 bits.
struct FixedPoint {
  int fraction_bits;  // of a weight in steps of a grid, from its middle; it saturates at 16 bits
  int distance_bits;  // the same of its distance from a code
  float middle;       // of the codes
  float most_excess;

  // From 1 / 32767 of a radius in steps to 1 / 2^fraction_bits of a step, after a product >> 15.
  constexpr float factor() const {
    return static_cast<float>(1 << (fraction_bits + 15)) / 32767.0f;
  }
};

template <int kBits>
inline constexpr FixedPoint kFixed = kBits == 2   ? FixedPoint{12, 12, 1.5f, 5.0f}
                                     : kBits == 4 ? FixedPoint{11, 11, 7.5f, 7.0f}
                                                  : FixedPoint{8, 11, 0.0f, 0.5f};

template <int kBits>
struct SearchPlan;

template <>
struct SearchPlan<2> {
  static constexpr std::array<float, 1> kShrinks = {0.6f};  // of the half range, around its middle
  static constexpr std::array<float, 2> kDeviations = {1.7f, 1.45f};  // around the mean
  static constexpr int kRounds = 2;
  static constexpr float kRelaxation = 1.0f;  // how far a round goes toward its solution
};

template <>
struct SearchPlan<4> {
  // At equal distances from each other and from the range: the search goes on from the vertex of
  // the parabola through the three losses.
  static constexpr std::array<float, 2> kShrinks = {0.85f, 0.7f};
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
