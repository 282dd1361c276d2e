// WeightSketch: 48 random mixtures of a layer's rows, S = R·W with signs R of ±1/√48. Then
// ‖x·Sᵀ‖² estimates ‖x·Wᵀ‖² at a cost that does not depend on the layer's outputs: its mean over
// the signs is exact, its standard deviation √(2/48) = 20 % of it, and what matters here, the
// comparison of errors through the same signs, is far better than that (Johnson and Lindenstrauss).
//
// The signs of a row depend on its number alone, so the same layer has the same sketch everywhere.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace arrow_quant {

class WeightSketch {
 public:
  static constexpr size_t kRows = 48;
  using Mixed = std::array<double, kRows>;

  explicit WeightSketch(size_t cols) : cols_(cols), mixtures_(cols * kRows) {}

  // Row `row` of the weight, [cols]; each row once, in rising order.
  void add_row(size_t row, std::span<const float> weights);

  size_t cols() const { return cols_; }

  // x·Sᵀ of an input or an error, [cols].
  Mixed apply(std::span<const float> x) const;
  // Of each of many, [n, cols]; mixed: [n].
  void apply(std::span<const float> rows, std::span<Mixed> mixed) const;
  // ‖x·Sᵀ‖².
  double energy(std::span<const float> x) const;
  // Of each of many, [n, cols]; energies: [n].
  void energies(std::span<const float> rows, std::span<double> energies) const;

 private:
  size_t cols_;
  std::vector<float> mixtures_;  // [cols, kRows]: what one input meets lies together
};

}  // namespace arrow_quant
