// How the parameters of sixteen groups are chosen. A start is scored by one pass over the weights;
// from the best start, rounds of codes → least squares follow, in which each weight counts with
// |error|^(p−2), so that the fixed point minimizes Σ|error|^p. The best of all that was scored
// stays, and all of it was rounded to fp16 first, so it is never worse than minimum and maximum.
#if defined(ARROW_QUANT_KERNELS_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_SEARCH_INL_H_
#undef ARROW_QUANT_KERNELS_SEARCH_INL_H_
#else
#define ARROW_QUANT_KERNELS_SEARCH_INL_H_
#endif

#include "arrow_quant/kernels/search_plan.h"
#include "arrow_quant/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

// Scale and offset of the groups in the lanes of one vector; both are fp16 values.
struct Params {
  VF scale;
  VF offset;
};

// Parameters of a whole tile.
struct TileParams {
  alignas(64) float scale[kTile];
  alignas(64) float offset[kTile];
};

// 8 bits: absolute maximum. Else minimum and maximum; where rounding the minimum to fp16 moves it
// by more than half a step, the offset lies below it and the steps reach from there: all of them,
// or one if the group is constant, which then keeps twice the bits of an fp16.
template <int kBits>
HWY_INLINE Params params_from_range(VF lo, VF hi) {
  const DF df;
  const VF zero = hn::Zero(df);
  const VF one = hn::Set(df, 1.0f);
  if constexpr (kBits == 8) {
    const VF abs_max = hn::Max(hn::Abs(lo), hn::Abs(hi));
    const VF scale = round_scale(hn::Div(abs_max, hn::Set(df, 127.0f)));
    return {hn::IfThenElse(hn::Gt(abs_max, zero), scale, one), zero};
  } else {
    const VF steps = hn::Set(df, static_cast<float>((1 << kBits) - 1));
    const VF width = hn::Div(hn::Sub(hi, lo), steps);
    const VF low = clamp_to_half(lo);
    const VF nearest = round_to_half(low);
    const auto moved = hn::Gt(hn::Abs(hn::Sub(nearest, low)), hn::Mul(width, hn::Set(df, 0.5f)));
    const VF offset = hn::IfThenElse(moved, floor_to_half(low), nearest);
    const VF rest = hn::Sub(hi, offset);
    const VF reaching = hn::IfThenElse(hn::Gt(hi, lo), hn::Div(rest, steps), rest);
    const VF step = hn::IfThenElse(moved, reaching, width);
    return {hn::IfThenElse(hn::Gt(step, zero), round_scale(step), one), offset};
  }
}

// d^2 · |d|^(p−2) of an error d, and the weight |d|^(p−2).
template <ErrorNorm kNorm>
HWY_INLINE VF weight_of(VF d) {
  if constexpr (kNorm == ErrorNorm::P2) return hn::Set(DF(), 1.0f);
  if constexpr (kNorm == ErrorNorm::P2_5) return hn::Sqrt(hn::Abs(d));
  if constexpr (kNorm == ErrorNorm::P3) return hn::Abs(d);
  if constexpr (kNorm == ErrorNorm::P4) return hn::Mul(d, d);
}

// scale^p: errors are summed in steps of the grid.
template <ErrorNorm kNorm>
HWY_INLINE VF unit_of(VF scale) {
  return hn::Mul(hn::Mul(scale, scale), weight_of<kNorm>(scale));
}

// The code nearest to x, and how far x lies from it, in steps.
template <int kBits>
HWY_INLINE void nearest_code(VF x, VF inverse, VF offset, VF& q, VF& d) {
  const DF df;
  const VF lowest = hn::Set(df, kBits == 8 ? -127.0f : 0.0f);
  const VF highest = hn::Set(df, kBits == 8 ? 127.0f : static_cast<float>((1 << kBits) - 1));
  const VF rounder = hn::Set(df, kRounder);
  const VF t = hn::Mul(kBits == 8 ? x : hn::Sub(x, offset), inverse);
  q = hn::Sub(hn::Add(hn::Min(hn::Max(t, lowest), highest), rounder), rounder);
  d = hn::Sub(t, q);
}

template <ErrorNorm kNorm>
HWY_INLINE VF loss_of(VF d) {
  if constexpr (kNorm == ErrorNorm::P2) return hn::Mul(d, d);
  return hn::Mul(hn::Mul(weight_of<kNorm>(d), d), d);
}

// Loss of two sets of parameters in one pass.
template <int kBits, ErrorNorm kNorm>
HWY_INLINE void score_two(const float* columns, size_t n, const Params (&p)[2], VF (&loss)[2]) {
  const DF df;
  const VF one = hn::Set(df, 1.0f);
  const VF inverse0 = hn::Div(one, p[0].scale);
  const VF inverse1 = hn::Div(one, p[1].scale);
  VF sum0 = hn::Zero(df);
  VF sum1 = hn::Zero(df);
  for (size_t i = 0; i < n; ++i) {
    const VF x = hn::Load(df, columns + i * kTile);
    VF q, d0, d1;
    nearest_code<kBits>(x, inverse0, p[0].offset, q, d0);
    nearest_code<kBits>(x, inverse1, p[1].offset, q, d1);
    sum0 = hn::Add(sum0, loss_of<kNorm>(d0));
    sum1 = hn::Add(sum1, loss_of<kNorm>(d1));
  }
  loss[0] = hn::Mul(sum0, unit_of<kNorm>(p[0].scale));
  loss[1] = hn::Mul(sum1, unit_of<kNorm>(p[1].scale));
}

template <int kBits, ErrorNorm kNorm>
HWY_INLINE VF score(const float* columns, size_t n, const Params& p) {
  const DF df;
  const VF inverse = hn::Div(hn::Set(df, 1.0f), p.scale);
  VF sum = hn::Zero(df);
  for (size_t i = 0; i < n; ++i) {
    VF q, d;
    nearest_code<kBits>(hn::Load(df, columns + i * kTile), inverse, p.offset, q, d);
    sum = hn::Add(sum, loss_of<kNorm>(d));
  }
  return hn::Mul(sum, unit_of<kNorm>(p.scale));
}

// The weighted least squares fit of d ≈ a · q + b for the codes at `p`, and the loss at `p`.
template <int kBits, ErrorNorm kNorm>
HWY_INLINE VF refine(const float* columns, size_t n, float relaxation, Params& p) {
  const DF df;
  const VF inverse = hn::Div(hn::Set(df, 1.0f), p.scale);
  VF loss = hn::Zero(df);
  VF wqq = loss, wq = loss, w = loss, wqd = loss, wd = loss;
  for (size_t i = 0; i < n; ++i) {
    VF q, d;
    nearest_code<kBits>(hn::Load(df, columns + i * kTile), inverse, p.offset, q, d);
    const VF weight = weight_of<kNorm>(d);
    const VF weighted_d = kNorm == ErrorNorm::P2 ? d : hn::Mul(weight, d);
    const VF weighted_q = kNorm == ErrorNorm::P2 ? q : hn::Mul(weight, q);
    loss = hn::Add(loss, hn::Mul(weighted_d, d));
    wqd = hn::Add(wqd, hn::Mul(weighted_d, q));
    wqq = hn::Add(wqq, hn::Mul(weighted_q, q));
    if constexpr (kBits != 8) {
      wd = hn::Add(wd, weighted_d);
      wq = hn::Add(wq, weighted_q);
      w = hn::Add(w, weight);
    }
  }
  const VF unit = unit_of<kNorm>(p.scale);
  const VF relaxed = hn::Mul(p.scale, hn::Set(df, relaxation));
  const VF zero = hn::Zero(df);
  VF scale = p.scale, offset = p.offset;
  if constexpr (kBits == 8) {
    scale = hn::Add(scale, hn::Mul(relaxed, hn::Div(wqd, wqq)));
  } else {
    const VF squares = hn::Mul(wqq, w);
    const VF determinant = hn::Sub(squares, hn::Mul(wq, wq));
    const VF a = hn::Div(hn::Sub(hn::Mul(wqd, w), hn::Mul(wq, wd)), determinant);
    const VF b = hn::Div(hn::Sub(hn::Mul(wqq, wd), hn::Mul(wq, wqd)), determinant);
    const auto solvable = hn::Gt(determinant, hn::Mul(squares, hn::Set(df, kSingular)));
    scale = hn::IfThenElseZero(solvable, hn::Add(scale, hn::Mul(relaxed, a)));
    offset = hn::Add(offset, hn::Mul(relaxed, b));
  }
  // A comparison is false for NaN, so that a fit without a solution changes nothing.
  const auto valid = hn::And(hn::Gt(scale, zero), hn::Eq(offset, offset));
  p.scale = hn::IfThenElse(valid, round_scale(scale), p.scale);
  p.offset = hn::IfThenElse(valid, round_offset(offset), p.offset);
  return hn::Mul(loss, unit);
}

struct Best {
  Params params;
  VF loss;

  HWY_INLINE void keep(const Params& p, VF loss_of_p) {
    const auto better = hn::Lt(loss_of_p, loss);
    loss = hn::IfThenElse(better, loss_of_p, loss);
    params.scale = hn::IfThenElse(better, p.scale, params.scale);
    params.offset = hn::IfThenElse(better, p.offset, params.offset);
  }
};

template <int kBits>
HWY_INLINE Params grid_around(VF center, VF half_width) {
  const DF df;
  const VF scale = hn::Mul(half_width, hn::Set(df, 2.0f / static_cast<float>((1 << kBits) - 1)));
  return {round_scale(scale), round_offset(hn::Sub(center, half_width))};
}

// Mean and standard deviation of every lane's group.
HWY_INLINE void moments_of(const float* columns, size_t n, VF& mean, VF& deviation) {
  const DF df;
  const VF inverse_n = hn::Set(df, 1.0f / static_cast<float>(n));
  VF sum = hn::Zero(df), squares = hn::Zero(df);
  for (size_t i = 0; i < n; ++i) {
    const VF x = hn::Load(df, columns + i * kTile);
    sum = hn::Add(sum, x);
    squares = hn::Add(squares, hn::Mul(x, x));
  }
  mean = hn::Mul(sum, inverse_n);
  const VF variance = hn::Sub(hn::Mul(squares, inverse_n), hn::Mul(mean, mean));
  deviation = hn::Sqrt(hn::Max(variance, hn::Zero(df)));
}

// Grids narrower than the range (kShrinks) and around the mean (kDeviations), and the range's.
template <int kBits, ErrorNorm kNorm>
HWY_INLINE Best best_start(const float* columns, size_t n, VF lo, VF hi) {
  const DF df;
  using Plan = SearchPlan<kBits>;
  const VF half = hn::Set(df, 0.5f);
  const VF center = hn::Mul(hn::Add(lo, hi), half);
  const VF radius = hn::Mul(hn::Sub(hi, lo), half);
  Params starts[4];
  size_t count = 0;
  starts[count++] = params_from_range<kBits>(lo, hi);
  for (const float f : Plan::kShrinks) {
    starts[count++] = grid_around<kBits>(center, hn::Mul(radius, hn::Set(df, f)));
  }
  if constexpr (Plan::kNumDeviations > 0) {
    VF mean, deviation;
    moments_of(columns, n, mean, deviation);
    for (const float c : Plan::kDeviations) {
      starts[count++] = grid_around<kBits>(mean, hn::Mul(deviation, hn::Set(df, c)));
    }
  }
  Best best;
  VF loss[2];
  score_two<kBits, kNorm>(columns, n, {starts[0], starts[1]}, loss);
  best.params = starts[0];
  best.loss = loss[0];
  best.keep(starts[1], loss[1]);
  score_two<kBits, kNorm>(columns, n, {starts[2], starts[3]}, loss);
  best.keep(starts[2], loss[0]);
  best.keep(starts[3], loss[1]);
  return best;
}

template <int kBits, ErrorNorm kNorm>
HWY_INLINE Params search_lanes(const float* columns, size_t n, VF lo, VF hi) {
  using Plan = SearchPlan<kBits>;
  Best best;
  if constexpr (kBits == 8) {
    best.params = params_from_range<8>(lo, hi);
    best.loss = hn::Set(DF(), std::numeric_limits<float>::infinity());
  } else {
    best = best_start<kBits, kNorm>(columns, n, lo, hi);
  }
  Params p = best.params;
  for (int round = 0; round < Plan::kRounds; ++round) {
    const Params scored = p;
    best.keep(scored, refine<kBits, kNorm>(columns, n, Plan::kRelaxation, p));
  }
  best.keep(p, score<kBits, kNorm>(columns, n, p));
  return best.params;
}

template <int kBits, ErrorNorm kNorm>
HWY_NOINLINE void search_tile(const float* columns, size_t n, const TileRange& range,
                              TileParams& params) {
  const DF df;
  for (size_t lane = 0; lane < kTile; lane += kLanes) {
    const Params p = search_lanes<kBits, kNorm>(columns + lane, n, hn::Load(df, range.lo + lane),
                                                hn::Load(df, range.hi + lane));
    hn::Store(p.scale, df, params.scale + lane);
    hn::Store(p.offset, df, params.offset + lane);
  }
}

template <int kBits>
HWY_INLINE void search_tile_for(ErrorNorm norm, const float* columns, size_t n,
                                const TileRange& range, TileParams& params) {
  switch (norm) {
    case ErrorNorm::P2:
      return search_tile<kBits, ErrorNorm::P2>(columns, n, range, params);
    case ErrorNorm::P2_5:
      return search_tile<kBits, ErrorNorm::P2_5>(columns, n, range, params);
    case ErrorNorm::P3:
      return search_tile<kBits, ErrorNorm::P3>(columns, n, range, params);
    case ErrorNorm::P4:
      return search_tile<kBits, ErrorNorm::P4>(columns, n, range, params);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
