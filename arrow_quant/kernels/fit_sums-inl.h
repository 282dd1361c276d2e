// Sums over the fixed-point weights of groups, one group in each lane: what a grid loses, and what
// a least squares fit of a better one needs.
#if defined(ARROW_QUANT_KERNELS_FIT_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_FIT_SUMS_INL_H_
#undef ARROW_QUANT_KERNELS_FIT_SUMS_INL_H_
#else
#define ARROW_QUANT_KERNELS_FIT_SUMS_INL_H_
#endif

#include "arrow_quant/kernels/fixed_point-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

// Sums of products, two of a lane at a time.
class PairSum {
 public:
  HWY_INLINE PairSum() : sum0_(hn::Zero(DI())), sum1_(hn::Zero(DI())) {}
  HWY_INLINE void add(VW a, VW b) {
    sum0_ = hn::ReorderWidenMulAccumulate(DI(), a, b, sum0_, sum1_);
  }
  HWY_INLINE VF get() const {
    return hn::ConvertTo(DF(), hn::RearrangeToOddPlusEven(sum0_, sum1_));
  }

 private:
  VI sum0_, sum1_;
};

// A sum of products that may pass 32 bits: blocks of integers, added as floats in order.
class BlockSum {
 public:
  HWY_INLINE BlockSum() : sum_(hn::Zero(DF())) {}
  HWY_INLINE void add(VW a0, VW b0, VW a1, VW b1) {
    PairSum block;
    block.add(a0, b0);
    block.add(a1, b1);
    sum_ = hn::Add(sum_, block.get());
  }
  HWY_INLINE VF get() const { return sum_; }

 private:
  VF sum_;
};

// The weights of a vector of groups, as a search reads them.
struct LaneGroups {
  const TilePairs& pairs;
  size_t lane;  // of the first group
  size_t n;
  Span span;
};

// Mean and standard deviation of every lane's group.
HWY_INLINE void moments_of(const LaneGroups& groups, VF& mean, VF& deviation) {
  const DF df;
  const VW one = hn::Set(DW(), 1);
  PairSum sum;
  BlockSum squares;  // of halves, so that four fit 32 bits
  const size_t rows = (groups.n + kStripe - 1) / kStripe * kTile;
  for (size_t row = 0; row < rows; row += 2) {
    const VW a = load_pairs(groups.pairs, row, groups.lane);
    const VW b = load_pairs(groups.pairs, row + 1, groups.lane);
    const VW half_a = hn::ShiftRight<1>(a), half_b = hn::ShiftRight<1>(b);
    sum.add(a, one);
    sum.add(b, one);
    squares.add(half_a, half_a, half_b, half_b);
  }
  const VF inverse_n = hn::Set(df, 1.0f / static_cast<float>(groups.n));
  const VF unit = hn::Mul(groups.span.radius, hn::Set(df, 1.0f / 32767.0f));
  const VF m = hn::Mul(sum.get(), inverse_n);
  const VF mean_square = hn::Mul(squares.get(), hn::Mul(inverse_n, hn::Set(df, 4.0f)));
  const VF variance = hn::Max(hn::Sub(mean_square, hn::Mul(m, m)), hn::Zero(df));
  mean = hn::Add(groups.span.center, hn::Mul(m, unit));
  deviation = hn::Mul(hn::Sqrt(variance), unit);
}

// Two rows of pairs from `row` on: distances of the weights from the codes of a grid, and what they
// weigh.
template <int kBits, ErrorNorm kNorm>
struct Block {
  VW q[2], d[2], w[2], wd[2];

  // kMasked: the groups may end in these rows.
  template <bool kMasked>
  HWY_INLINE void set(const FixedGrid<kBits>& grid, const LaneGroups& groups, size_t row) {
    HWY_UNROLL(2) for (size_t j = 0; j < 2; ++j) {
      grid.nearest_codes(load_pairs(groups.pairs, row + j, groups.lane), q[j], d[j]);
      w[j] = fixed_weight_of<kBits, kNorm>(d[j]);
      if constexpr (kMasked) {
        const VW valid = halves_before(row + j, groups.n);
        d[j] = hn::And(d[j], valid);
        w[j] = hn::And(w[j], valid);
      }
      wd[j] = hn::MulFixedPoint15(w[j], d[j]);
    }
  }
};

// scale^p: errors are summed in steps of the grid.
template <ErrorNorm kNorm>
HWY_INLINE VF unit_of(VF scale) {
  const VF square = hn::Mul(scale, scale);
  if constexpr (kNorm == ErrorNorm::P2) return square;
  if constexpr (kNorm == ErrorNorm::P2_5) return hn::Mul(square, hn::Sqrt(scale));
  if constexpr (kNorm == ErrorNorm::P3) return hn::Mul(square, scale);
  if constexpr (kNorm == ErrorNorm::P4) return hn::Mul(square, square);
}

// Sums of |error|^p.
template <int kBits, ErrorNorm kNorm>
class Scorer {
 public:
  Scorer() = default;
  HWY_INLINE Scorer(const Span& span, const Params& p) : grid_(span, p), scale_(p.scale) {}

  HWY_INLINE const FixedGrid<kBits>& grid() const { return grid_; }
  HWY_INLINE void add(const Block<kBits, kNorm>& b) { loss_.add(b.wd[0], b.d[0], b.wd[1], b.d[1]); }

  // Times a constant of the norm; infinite where the grid leaves weights too far outside.
  HWY_INLINE VF loss() const {
    const VF infinity = hn::Set(DF(), std::numeric_limits<float>::infinity());
    return hn::IfThenElse(grid_.fits(), hn::Mul(loss_.get(), unit_of<kNorm>(scale_)), infinity);
  }

 private:
  FixedGrid<kBits> grid_;
  VF scale_;
  BlockSum loss_;
};

// The sums of a weighted least squares fit of d ≈ a · q + b, beside those of |error|^p.
template <int kBits, ErrorNorm kNorm>
class Refiner {
 public:
  HWY_INLINE Refiner(const Span& span, const Params& p) : scorer_(span, p), params_(p) {}

  HWY_INLINE const FixedGrid<kBits>& grid() const { return scorer_.grid(); }
  HWY_INLINE void add(const Block<kBits, kNorm>& b) {
    scorer_.add(b);
    wqq_.add(b.w[0], hn::Mul(b.q[0], b.q[0]), b.w[1], hn::Mul(b.q[1], b.q[1]));
    const VW one = hn::Set(DW(), 1);
    for (size_t j = 0; j < 2; ++j) {
      wdq_.add(b.wd[j], b.q[j]);
      if constexpr (kBits != 8) {
        wd_.add(b.wd[j], one);
        wq_.add(b.w[j], b.q[j]);
        w_.add(b.w[j], one);
      }
    }
  }

  HWY_INLINE VF loss() const { return scorer_.loss(); }

  // The parameters moved toward the solution; as they were where there is none.
  HWY_INLINE Params solution(float relaxation) const {
    const DF df;
    const VF relaxed = hn::Mul(params_.scale, hn::Set(df, relaxation));
    // wd was shifted by 15 bits and counts in small parts of a step.
    const VF unit = hn::Set(df, static_cast<float>(1 << (15 - kFixed<kBits>.distance_bits)));
    const VF wqq = wqq_.get();
    const VF wdq = hn::Mul(wdq_.get(), unit);
    VF scale, offset = params_.offset;
    if constexpr (kBits == 8) {
      scale = hn::Add(params_.scale, hn::Mul(relaxed, hn::Div(wdq, wqq)));
    } else {
      const VF w = w_.get(), wq = wq_.get();
      const VF wd = hn::Mul(wd_.get(), unit);
      const VF squares = hn::Mul(wqq, w);
      const VF determinant = hn::Sub(squares, hn::Mul(wq, wq));
      const VF a = hn::Div(hn::Sub(hn::Mul(wdq, w), hn::Mul(wq, wd)), determinant);
      const VF b = hn::Div(hn::Sub(hn::Mul(wqq, wd), hn::Mul(wq, wdq)), determinant);
      const auto solvable = hn::Gt(determinant, hn::Mul(squares, hn::Set(df, kSingular)));
      // q counts half steps from the middle of the grid, where b holds.
      const VF growth = hn::Add(a, a);
      const VF shift = hn::Sub(b, hn::Mul(growth, hn::Set(df, kFixed<kBits>.middle)));
      scale = hn::IfThenElseZero(solvable, hn::Add(params_.scale, hn::Mul(relaxed, growth)));
      offset = hn::Add(offset, hn::Mul(relaxed, shift));
    }
    // A comparison is false for NaN, so that a fit without a solution changes nothing.
    const auto valid = hn::And(hn::Gt(scale, hn::Zero(df)), hn::Eq(offset, offset));
    return {hn::IfThenElse(valid, round_scale(scale), params_.scale),
            hn::IfThenElse(valid, round_offset(offset), params_.offset)};
  }

 private:
  Scorer<kBits, kNorm> scorer_;
  Params params_;
  BlockSum wqq_;
  PairSum wdq_, wd_, wq_, w_;
};

// Adds all weights to the sums of each of several grids.
template <int kBits, ErrorNorm kNorm, class Sums, size_t kCount>
HWY_INLINE void add_all(const LaneGroups& groups, Sums (&sums)[kCount]) {
  Block<kBits, kNorm> block;
  size_t row = 0;
  for (; row < groups.n / kStripe * kTile; row += 2) {
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) {
      block.template set<false>(sums[j].grid(), groups, row);
      sums[j].add(block);
    }
  }
  if (groups.n % kStripe == 0) return;
  for (const size_t end = row + kTile; row < end; row += 2) {
    for (size_t j = 0; j < kCount; ++j) {
      block.template set<true>(sums[j].grid(), groups, row);
      sums[j].add(block);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
