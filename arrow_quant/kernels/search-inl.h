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

// v between 0 and the highest code. As integers, positive floats keep their order and negative
// ones are negative; integer units have time that float adders have not.
template <int kBits>
HWY_INLINE VF clamp_to_codes(VF v) {
  const DF df;
  if constexpr (kBits == 8) {
    return hn::Min(hn::Max(v, hn::Set(df, -127.0f)), hn::Set(df, 127.0f));
  } else {
    const DI di;
    const auto highest = hn::BitCast(di, hn::Set(df, static_cast<float>((1 << kBits) - 1)));
    const auto bits = hn::BitCast(di, v);
    return hn::BitCast(df, hn::Min(hn::Max(bits, hn::Zero(di)), highest));
  }
}

// The code nearest to x, and how far x lies from it, in steps.
template <int kBits>
HWY_INLINE void nearest_code(VF x, VF inverse, VF offset, VF& q, VF& d) {
  const VF t = hn::Mul(kBits == 8 ? x : hn::Sub(x, offset), inverse);
  q = hn::Round(clamp_to_codes<kBits>(t));
  d = hn::Sub(t, q);
}

// Weights of a lane that are worked on side by side: one alone is a long chain of operations.
// Their contributions are still added one after the other.
inline constexpr size_t kSideBySide = kLanes == 16 ? 4 : 2;

template <int kBits, size_t kCount>
HWY_INLINE void nearest_codes(const float* columns, VF inverse, VF offset, VF (&q)[kCount],
                              VF (&d)[kCount]) {
  const DF df;
  VF t[kCount];
  HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) {
    const VF x = hn::Load(df, columns + j * kTile);
    t[j] = kBits == 8 ? x : hn::Sub(x, offset);
  }
  HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) t[j] = hn::Mul(t[j], inverse);
  HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) q[j] = clamp_to_codes<kBits>(t[j]);
  HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) q[j] = hn::Round(q[j]);
  HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) d[j] = hn::Sub(t[j], q[j]);
}

// Sums of |error|^p.
template <int kBits, ErrorNorm kNorm>
class Scorer {
 public:
  HWY_INLINE explicit Scorer(const Params& p) : params_(p) {
    inverse_ = hn::Div(hn::Set(DF(), 1.0f), p.scale);
    sum_ = hn::Zero(DF());
  }

  template <size_t kCount>
  HWY_INLINE void add(const float* columns) {
    VF q[kCount], d[kCount], loss[kCount];
    nearest_codes<kBits>(columns, inverse_, params_.offset, q, d);
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) {
      loss[j] = kNorm == ErrorNorm::P2 ? d[j] : hn::Mul(weight_of<kNorm>(d[j]), d[j]);
    }
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) loss[j] = hn::Mul(loss[j], d[j]);
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) sum_ = hn::Add(sum_, loss[j]);
  }

  HWY_INLINE VF loss() const { return hn::Mul(sum_, unit_of<kNorm>(params_.scale)); }

 private:
  Params params_;
  VF inverse_, sum_;
};

// The sums of a weighted least squares fit of d ≈ a · q + b, beside those of |error|^p.
template <int kBits, ErrorNorm kNorm>
class Refiner {
 public:
  HWY_INLINE explicit Refiner(const Params& p) : params_(p) {
    inverse_ = hn::Div(hn::Set(DF(), 1.0f), p.scale);
    loss_ = wqq_ = wq_ = w_ = wqd_ = wd_ = hn::Zero(DF());
  }

  template <size_t kCount>
  HWY_INLINE void add(const float* columns) {
    VF q[kCount], d[kCount], w[kCount], wd[kCount], wq[kCount];
    nearest_codes<kBits>(columns, inverse_, params_.offset, q, d);
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) w[j] = weight_of<kNorm>(d[j]);
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) {
      wd[j] = kNorm == ErrorNorm::P2 ? d[j] : hn::Mul(w[j], d[j]);
      wq[j] = kNorm == ErrorNorm::P2 ? q[j] : hn::Mul(w[j], q[j]);
    }
    HWY_UNROLL(4) for (size_t j = 0; j < kCount; ++j) {
      loss_ = hn::Add(loss_, hn::Mul(wd[j], d[j]));
      wqd_ = hn::Add(wqd_, hn::Mul(wd[j], q[j]));
      wqq_ = hn::Add(wqq_, hn::Mul(wq[j], q[j]));
      if constexpr (kBits != 8) {
        wd_ = hn::Add(wd_, wd[j]);
        wq_ = hn::Add(wq_, wq[j]);
        w_ = hn::Add(w_, w[j]);
      }
    }
  }

  HWY_INLINE VF loss() const { return hn::Mul(loss_, unit_of<kNorm>(params_.scale)); }

  // The parameters moved toward the solution; as they were where there is none.
  HWY_INLINE Params solution(float relaxation) const {
    const DF df;
    const VF relaxed = hn::Mul(params_.scale, hn::Set(df, relaxation));
    VF scale, offset = params_.offset;
    if constexpr (kBits == 8) {
      scale = hn::Add(params_.scale, hn::Mul(relaxed, hn::Div(wqd_, wqq_)));
    } else {
      const VF squares = hn::Mul(wqq_, w_);
      const VF determinant = hn::Sub(squares, hn::Mul(wq_, wq_));
      const VF a = hn::Div(hn::Sub(hn::Mul(wqd_, w_), hn::Mul(wq_, wd_)), determinant);
      const VF b = hn::Div(hn::Sub(hn::Mul(wqq_, wd_), hn::Mul(wq_, wqd_)), determinant);
      const auto solvable = hn::Gt(determinant, hn::Mul(squares, hn::Set(df, kSingular)));
      scale = hn::IfThenElseZero(solvable, hn::Add(params_.scale, hn::Mul(relaxed, a)));
      offset = hn::Add(offset, hn::Mul(relaxed, b));
    }
    // A comparison is false for NaN, so that a fit without a solution changes nothing.
    const auto valid = hn::And(hn::Gt(scale, hn::Zero(df)), hn::Eq(offset, offset));
    return {hn::IfThenElse(valid, round_scale(scale), params_.scale),
            hn::IfThenElse(valid, round_offset(offset), params_.offset)};
  }

 private:
  Params params_;
  VF inverse_;
  VF loss_, wqq_, wq_, w_, wqd_, wd_;
};

template <class Sums>
HWY_INLINE void add_all(const float* columns, size_t n, Sums& sums) {
  size_t i = 0;
  for (; i + kSideBySide <= n; i += kSideBySide) {
    sums.template add<kSideBySide>(columns + i * kTile);
  }
  for (; i < n; ++i) sums.template add<1>(columns + i * kTile);
}

template <int kBits, ErrorNorm kNorm>
HWY_INLINE VF score(const float* columns, size_t n, const Params& p) {
  Scorer<kBits, kNorm> scorer(p);
  add_all(columns, n, scorer);
  return scorer.loss();
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

HWY_INLINE void range_of_lanes(const float* columns, size_t n, VF& lo, VF& hi) {
  const DF df;
  lo = hi = hn::Load(df, columns);
  for (size_t i = 1; i < n; ++i) {
    const VF x = hn::Load(df, columns + i * kTile);
    lo = hn::Min(lo, x);
    hi = hn::Max(hi, x);
  }
  // −0 becomes +0: which of the two a minimum is depends on the order.
  lo = hn::Add(lo, hn::Zero(df));
  hi = hn::Add(hi, hn::Zero(df));
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
  Best best = {starts[0], score<kBits, kNorm>(columns, n, starts[0])};
  for (size_t i = 1; i < 4; ++i) best.keep(starts[i], score<kBits, kNorm>(columns, n, starts[i]));
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
    Refiner<kBits, kNorm> refiner(p);
    add_all(columns, n, refiner);
    best.keep(p, refiner.loss());
    p = refiner.solution(Plan::kRelaxation);
  }
  best.keep(p, score<kBits, kNorm>(columns, n, p));
  return best.params;
}

template <int kBits, ErrorNorm kNorm>
HWY_NOINLINE void search_tile(const float* columns, size_t n, TileRange& range,
                              TileParams& params) {
  const DF df;
  for (size_t lane = 0; lane < kTile; lane += kLanes) {
    VF lo, hi;
    range_of_lanes(columns + lane, n, lo, hi);
    hn::Store(lo, df, range.lo + lane);
    hn::Store(hi, df, range.hi + lane);
    const Params p = search_lanes<kBits, kNorm>(columns + lane, n, lo, hi);
    hn::Store(p.scale, df, params.scale + lane);
    hn::Store(p.offset, df, params.offset + lane);
  }
}

template <int kBits>
HWY_INLINE void search_tile_for(ErrorNorm norm, const float* columns, size_t n, TileRange& range,
                                TileParams& params) {
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
