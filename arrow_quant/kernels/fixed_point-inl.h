// Weights of sixteen groups as 16-bit integers, and how far they lie from the codes of a grid. Two
// weights of a group share a 32-bit lane, so that a search goes through twice as many at a time as
// with floats; and sums of integers do not depend on the order.
#if defined(ARROW_QUANT_KERNELS_FIXED_POINT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_FIXED_POINT_INL_H_
#undef ARROW_QUANT_KERNELS_FIXED_POINT_INL_H_
#else
#define ARROW_QUANT_KERNELS_FIXED_POINT_INL_H_
#endif

#include "arrow_quant/kernels/search_plan.h"
#include "arrow_quant/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

using DW = hn::Repartition<int16_t, DF>;
using VW = hn::Vec<DW>;
using VI = hn::Vec<DI>;

// Scale and offset of the groups in the lanes of one vector; both are fp16 values.
struct Params {
  VF scale;
  VF offset;
};

// Where the weights of the groups lie: lo ≤ weight ≤ hi, |weight − center| ≤ radius.
struct Span {
  VF lo;
  VF hi;
  VF center;  // 0 for 8 bits, whose codes are symmetric
  VF radius;
};

template <int kBits>
HWY_INLINE Span span_of(VF lo, VF hi) {
  const DF df;
  if constexpr (kBits == 8) {
    return {lo, hi, hn::Zero(df), hn::Max(hn::Abs(lo), hn::Abs(hi))};
  } else {
    const VF center = hn::Mul(hn::Add(lo, hi), hn::Set(df, 0.5f));
    return {lo, hi, center, hn::Max(hn::Sub(hi, center), hn::Sub(center, lo))};
  }
}

// What makes 16-bit integers of distances from the center.
HWY_INLINE VF fixed_factor(const Span& span) {
  const DF df;
  const auto measurable = hn::Gt(span.radius, hn::Set(df, kLeastRadius));
  return hn::IfThenElseZero(measurable, hn::Div(hn::Set(df, 32767.0f), span.radius));
}

// v rounded to an integer, in both halves of the lanes. Pre: |v| < 2^15, after rounding.
HWY_INLINE VW both_halves(VF v) {
  const DU du;
  const auto bits = hn::BitCast(du, hn::Add(v, hn::Set(DF(), kRounder)));
  const auto low = hn::And(bits, hn::Set(du, 0xFFFFu));
  return hn::BitCast(DW(), hn::Or(low, hn::ShiftLeft<16>(bits)));
}

// Two vectors of integers that stand in the low halves of their lanes' bits, as one.
HWY_INLINE VW join_halves(hn::Vec<DU> low, hn::Vec<DU> high) {
  const DW dw;
  return hn::OddEven(hn::BitCast(dw, hn::ShiftLeft<16>(high)), hn::BitCast(dw, low));
}

// Pairs of the weights of a tile: in row r and a group's lane those with the indices 2r and 2r + 1,
// in 1 / 32767 of the group's radius from its center; 0 behind the last weight.
struct TilePairs {
  alignas(64) int32_t rows[kMaxGroupSize / 2 * kTile];
};

// How the weights of a tile become integers, by lane.
struct TileSpan {
  alignas(64) float center[kTile];
  alignas(64) float factor[kTile];  // 32767 / radius
};

// The blocks of v, four rows apart.
template <class D>
HWY_INLINE void store_blocks(D d, hn::Vec<D> v, int32_t* out) {
  constexpr size_t kBlocks = hn::MaxLanes(D()) / 4;
  if constexpr (kBlocks == 1) {
    hn::Store(v, d, out);
  } else {
    const hn::Half<D> dh;
    store_blocks(dh, hn::LowerHalf(dh, v), out);
    store_blocks(dh, hn::UpperHalf(dh, v), out + kBlocks / 2 * 4 * kTile);
  }
}

// A stripe of four groups, the first of which has lane `quad`.
template <class From>
HWY_INLINE void stripe_to_pairs(const typename From::Element* const* x, const TileSpan& span,
                                size_t quad, int32_t* rows) {
  const DF df;
  const DU du;
  const DI di;
  const VF rounder = hn::Set(df, kRounder);
  for (size_t part = 0; part < kParts; ++part) {
    hn::Vec<DI> v[4];
    HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
      const VF center = hn::Set(df, span.center[quad + j]);
      const VF factor = hn::Set(df, span.factor[quad + j]);
      VF even, odd;
      load_pairs<From>(x[j] + part * 2 * kLanes, even, odd);
      const VF low = hn::Mul(hn::Sub(even, center), factor);
      const VF high = hn::Mul(hn::Sub(odd, center), factor);
      v[j] = hn::BitCast(di, join_halves(hn::BitCast(du, hn::Add(low, rounder)),
                                         hn::BitCast(du, hn::Add(high, rounder))));
    }
    transpose4(di, v[0], v[1], v[2], v[3]);
    HWY_UNROLL(4) for (size_t j = 0; j < 4; ++j) {
      store_blocks(di, v[j], rows + (part * kLanes + j) * kTile + quad);
    }
  }
}

template <class From>
HWY_INLINE void tile_to_pairs(const Tile<typename From::Element>& tile, size_t n,
                              const TileSpan& span, TilePairs& pairs) {
  for (size_t quad = 0; quad < kTile; quad += 4) {
    const typename From::Element* x[4];
    for (size_t j = 0; j < 4; ++j) x[j] = tile.x[quad + j];
    int32_t* rows = pairs.rows;
    size_t i = 0;
    for (; i + kStripe <= n; i += kStripe) {
      stripe_to_pairs<From>(x, span, quad, rows);
      for (size_t j = 0; j < 4; ++j) x[j] += kStripe;
      rows += kTile * kTile;
    }
    if (i < n) {
      alignas(64) float rest[4][kStripe];
      const float* stripe[4];
      for (size_t j = 0; j < 4; ++j) {
        last_stripe<From>(x[j], n - i, span.center[quad + j], rest[j]);
        stripe[j] = rest[j];
      }
      stripe_to_pairs<FromF32>(stripe, span, quad, rows);
    }
  }
}

// Row `row` of a vector of groups, the first of which has lane `lane`.
HWY_INLINE VW load_pairs(const TilePairs& pairs, size_t row, size_t lane) {
  return hn::BitCast(DW(), hn::Load(DI(), pairs.rows + row * kTile + lane));
}

// Which halves of a row belong to a group of n weights.
HWY_INLINE VW halves_before(size_t row, size_t n) {
  const size_t index = 2 * row;
  const uint32_t valid = index + 1 < n ? 0xFFFFFFFFu : index < n ? 0xFFFFu : 0u;
  return hn::BitCast(DW(), hn::Set(DU(), valid));
}

// A grid as the fixed-point weights see it.
template <int kBits>
class FixedGrid {
 public:
  FixedGrid() = default;
  HWY_INLINE FixedGrid(const Span& span, const Params& p) {
    const DF df;
    const VF inverse = hn::Div(hn::Set(df, 1.0f), p.scale);
    const VF radius = hn::Mul(span.radius, inverse);
    const VF most = hn::Set(df, 32767.0f);
    factor_ = both_halves(hn::Min(hn::Mul(radius, hn::Set(df, kFixed<kBits>.factor())), most));
    VF excess;
    if constexpr (kBits == 8) {
      shift_ = hn::Zero(DW());
      excess = hn::Sub(radius, hn::Set(df, 127.0f));
    } else {
      const VF steps = hn::Mul(hn::Sub(span.center, p.offset), inverse);
      const VF shift =
          hn::Mul(hn::Sub(steps, hn::Set(df, kFixed<kBits>.middle)), hn::Set(df, kOne));
      shift_ = both_halves(hn::Min(hn::Max(shift, hn::Neg(most)), most));
      const VF width = hn::Mul(p.scale, hn::Set(df, 2.0f * kFixed<kBits>.middle));
      const VF above = hn::Sub(span.hi, hn::Add(p.offset, width));
      excess = hn::Mul(hn::Max(above, hn::Sub(p.offset, span.lo)), inverse);
    }
    fits_ = hn::Le(excess, hn::Set(df, kFixed<kBits>.most_excess));
  }

  // Whether no weight lies so far outside the grid that the integers could overflow.
  HWY_INLINE hn::Mask<DF> fits() const { return fits_; }

  // q: the codes nearest to weights; for 2 and 4 bits counted in half steps from the grid's middle,
  // so that they are odd. d: how far the weights lie from them, in 1 / 2^distance_bits of a step.
  HWY_INLINE void nearest_codes(VW weights, VW& q, VW& d) const {
    const DW dw;
    const VW t = hn::SaturatedAdd(hn::MulFixedPoint15(weights, factor_), shift_);
    if constexpr (kBits == 8) {
      const VW up = hn::SaturatedAdd(t, hn::Set(dw, kOne / 2));
      const VW code = hn::And(up, hn::Set(dw, -kOne));
      const VW most = hn::Set(dw, 127 * kOne);
      const VW held = hn::Min(hn::Max(code, hn::Neg(most)), most);
      q = hn::ShiftRight<kFixed<kBits>.fraction_bits>(held);
      d = hn::ShiftLeft<kFixed<kBits>.distance_bits - kFixed<kBits>.fraction_bits>(
          hn::Sub(t, held));
    } else {
      const VW middle = hn::OrAnd(hn::Set(dw, kOne / 2), t, hn::Set(dw, -kOne));
      const VW most = hn::Set(dw, static_cast<int16_t>(kFixed<kBits>.middle * kOne));
      const VW held = hn::Min(hn::Max(middle, hn::Neg(most)), most);
      q = hn::ShiftRight<kFixed<kBits>.fraction_bits - 1>(held);
      d = hn::SaturatedSub(t, held);
    }
  }

 private:
  static constexpr int16_t kOne = 1 << kFixed<kBits>.fraction_bits;

  VW factor_, shift_;
  hn::Mask<DF> fits_;
};

// |d|^(p−2), times a constant of norm and bits.
template <int kBits, ErrorNorm kNorm>
HWY_INLINE VW fixed_weight_of(VW d) {
  const DW dw;
  const VW magnitude = hn::Abs(d);
  if constexpr (kNorm == ErrorNorm::P2) return hn::Set(dw, 1 << 14);
  if constexpr (kNorm == ErrorNorm::P3) return hn::SaturatedAdd(magnitude, magnitude);
  if constexpr (kNorm == ErrorNorm::P4) {
    // Two steps fill 15 bits.
    VW scaled = hn::SaturatedAdd(magnitude, magnitude);
    for (int bit = kFixed<kBits>.distance_bits; bit < 13; ++bit) {
      scaled = hn::SaturatedAdd(scaled, scaled);
    }
    return hn::MulFixedPoint15(scaled, scaled);
  }
  if constexpr (kNorm == ErrorNorm::P2_5) {
    const DF df;
    const DU du;
    const auto root = [&](hn::Vec<DU> v) HWY_ATTR {
      const VF f = hn::ConvertTo(df, hn::BitCast(DI(), v));
      const VF root128 = hn::Mul(hn::Sqrt(f), hn::Set(df, 128.0f));
      return hn::BitCast(du, hn::Add(root128, hn::Set(df, kRounder)));
    };
    const auto both = hn::BitCast(du, magnitude);
    return join_halves(root(hn::And(both, hn::Set(du, 0xFFFFu))), root(hn::ShiftRight<16>(both)));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
