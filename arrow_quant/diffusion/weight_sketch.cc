#include "arrow_quant/diffusion/weight_sketch.h"

#include <algorithm>
#include <cstdint>

namespace arrow_quant {
namespace {

constexpr size_t kBlock = 64;  // inputs that are summed in float32 before they join the double sum
constexpr size_t kTile = 16;   // mixtures

// SplitMix64 (Steele, Lea and Flood 2014) at the position of a row: 64 well mixed bits.
uint64_t mixed_bits(uint64_t row) {
  uint64_t bits = (row + 1) * 0x9e3779b97f4a7c15;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

// sums[i] += Σ x[j]·mixtures[j, i] over inputs begin ≤ j < end. A tile's sums stay in registers.
void add_products(const float* x, const float* mixtures, size_t begin, size_t end, double* sums) {
  std::array<float, kTile> tile = {};
  for (size_t j = begin; j < end; ++j) {
    const float* const mixture = mixtures + j * WeightSketch::kRows;
    for (size_t i = 0; i < kTile; ++i) {
      tile[i] += x[j] * mixture[i];
    }
  }
  for (size_t i = 0; i < kTile; ++i) {
    sums[i] += static_cast<double>(tile[i]);
  }
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

WeightSketch::Mixed WeightSketch::apply(std::span<const float> x) const {
  Mixed mixed = {};
  for (size_t begin = 0; begin < cols_; begin += kBlock) {
    const size_t end = std::min(cols_, begin + kBlock);
    for (size_t s = 0; s < kRows; s += kTile) {
      add_products(x.data(), mixtures_.data() + s, begin, end, mixed.data() + s);
    }
  }
  return mixed;
}

double WeightSketch::energy(std::span<const float> x) const {
  double energy = 0;
  for (const double value : apply(x)) {
    energy += value * value;
  }
  return energy;
}

}  // namespace arrow_quant
