#include "arrow_quant/diffusion/weight_sketch.h"

#include <algorithm>
#include <cstdint>

#include "arrow_quant/kernels/panels.h"

namespace arrow_quant {
namespace {

constexpr size_t kBlock = 64;  // inputs that are summed in float32 before they join the double sum
constexpr size_t kTile = 16;   // rows that meet a block while it is near

// SplitMix64 (Steele, Lea and Flood 2014) at the position of a row: 64 well mixed bits.
uint64_t mixed_bits(uint64_t row) {
  uint64_t bits = (row + 1) * 0x9e3779b97f4a7c15;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

// In four sums by index, which do not wait for each other.
double squares(const WeightSketch::Mixed& mixed) {
  std::array<double, 4> sums = {};
  for (size_t s = 0; s < mixed.size(); s += sums.size()) {
    for (size_t i = 0; i < sums.size(); ++i) {
      sums[i] += mixed[s + i] * mixed[s + i];
    }
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

void WeightSketch::add_row(size_t row, std::span<const float> weights) {
  constexpr float kInverseRoot = 0.14433756729740643f;  // 1/√48
  const uint64_t bits = mixed_bits(row);
  float signs[kRows];
  for (size_t s = 0; s < kRows; ++s) {
    signs[s] = bits >> s & 1 ? kInverseRoot : -kInverseRoot;
  }
  float* mixture = mixtures_.data();
  for (const float weight : weights) {
    for (size_t s = 0; s < kRows; ++s) {
      mixture[s] += signs[s] * weight;
    }
    mixture += kRows;
  }
}

void WeightSketch::apply(std::span<const float> rows, std::span<Mixed> mixed) const {
  std::array<float, kTile * kRows> sums;
  for (size_t first = 0; first < mixed.size(); first += kTile) {
    const size_t count = std::min(kTile, mixed.size() - first);
    std::fill_n(mixed.begin() + static_cast<std::ptrdiff_t>(first), count, Mixed{});
    for (size_t begin = 0; begin < cols_; begin += kBlock) {
      sums.fill(0);
      kernels::multiply_add({.a = rows.data() + first * cols_ + begin,
                             .a_row_stride = cols_,
                             .b = mixtures_.data() + begin * kRows,
                             .b_stride = kRows,
                             .c = sums.data(),
                             .c_stride = kRows,
                             .rows = count,
                             .depth = std::min(kBlock, cols_ - begin),
                             .cols = kRows});
      for (size_t r = 0; r < count; ++r) {
        for (size_t s = 0; s < kRows; ++s) {
          mixed[first + r][s] += static_cast<double>(sums[r * kRows + s]);
        }
      }
    }
  }
}

WeightSketch::Mixed WeightSketch::apply(std::span<const float> x) const {
  Mixed mixed;
  apply(x, std::span(&mixed, 1));
  return mixed;
}

double WeightSketch::energy(std::span<const float> x) const {
  return squares(apply(x));
}

void WeightSketch::energies(std::span<const float> rows, std::span<double> energies) const {
  std::array<Mixed, kTile> mixed;
  for (size_t first = 0; first < energies.size(); first += kTile) {
    const size_t count = std::min(kTile, energies.size() - first);
    apply(rows.subspan(first * cols_, count * cols_), std::span(mixed).first(count));
    for (size_t r = 0; r < count; ++r) energies[first + r] = squares(mixed[r]);
  }
}

}  // namespace arrow_quant
