// How the parameters of sixteen groups are chosen. A start is scored by one pass over the weights;
// from the best start, rounds of codes → least squares follow, in which each weight counts with
// |error|^(p−2), so that the fixed point minimizes Σ|error|^p. The best of all that was scored
// stays, and all of it was rounded to fp16 first. It must gain kLeastGain over minimum and maximum,
// so that it is never worse, although weights of 16 bits are scored.
#if defined(ARROW_QUANT_KERNELS_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_SEARCH_INL_H_
#undef ARROW_QUANT_KERNELS_SEARCH_INL_H_
#else
#define ARROW_QUANT_KERNELS_SEARCH_INL_H_
#endif

#include "arrow_quant/kernels/fit_sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

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

// What a search begins with: the best of its starts, and where to go on from.
struct Start {
  Best best;
  Params next;
  VF range_loss;  // that of the range's grid
};

// The half range to go on with, in parts of the range's: where a parabola through the losses of the
// starts is least, at most one distance from the middle one; `otherwise` where it has no such
// place.
HWY_INLINE VF vertex(VF wide, VF middle, VF narrow, float at, float distance, VF otherwise) {
  const DF df;
  const VF curvature = hn::Sub(hn::Add(wide, narrow), hn::Add(middle, middle));
  const VF slope = hn::Mul(hn::Sub(narrow, wide), hn::Set(df, 0.5f));
  const VF one = hn::Set(df, 1.0f);
  const VF steps = hn::Min(hn::Max(hn::Div(slope, curvature), hn::Neg(one)), one);
  const VF place = hn::Add(hn::Set(df, at), hn::Mul(steps, hn::Set(df, distance)));
  const auto finite = hn::Lt(curvature, hn::Set(df, std::numeric_limits<float>::infinity()));
  const auto valley = hn::And(hn::Gt(curvature, hn::Zero(df)), finite);
  return hn::IfThenElse(valley, place, otherwise);
}

template <int kBits, ErrorNorm kNorm, size_t kCount>
HWY_INLINE Best best_of(const LaneGroups& groups, const Params (&starts)[kCount],
                        VF (&losses)[kCount]) {
  Scorer<kBits, kNorm> scorers[kCount];
  for (size_t i = 0; i < kCount; ++i) scorers[i] = Scorer<kBits, kNorm>(groups.span, starts[i]);
  add_all<kBits, kNorm>(groups, scorers);
  for (size_t i = 0; i < kCount; ++i) losses[i] = scorers[i].loss();
  Best best = {starts[0], losses[0]};
  for (size_t i = 1; i < kCount; ++i) best.keep(starts[i], losses[i]);
  return best;
}

template <int kBits>
HWY_INLINE Params shrunk(const Span& span, VF part) {
  const VF radius = hn::Mul(hn::Sub(span.hi, span.lo), hn::Set(DF(), 0.5f));
  return grid_around<kBits>(span.center, hn::Mul(radius, part));
}

template <int kBits, ErrorNorm kNorm>
HWY_INLINE Start start_of(const LaneGroups& groups, const Params& from_range) {
  const DF df;
  using Plan = SearchPlan<kBits>;
  if constexpr (kBits == 8) {
    // The first round scores it.
    const VF unknown = hn::Set(df, std::numeric_limits<float>::infinity());
    return {{from_range, unknown}, from_range, unknown};
  } else if constexpr (kBits == 4) {
    const VF middle = hn::Set(df, Plan::kShrinks[0]), narrow = hn::Set(df, Plan::kShrinks[1]);
    const Params starts[] = {from_range, shrunk<4>(groups.span, middle),
                             shrunk<4>(groups.span, narrow)};
    VF losses[3];
    const Best best = best_of<4, kNorm>(groups, starts, losses);
    const VF part = vertex(losses[0], losses[1], losses[2], Plan::kShrinks[0],
                           Plan::kShrinks[0] - Plan::kShrinks[1], middle);
    return {best, shrunk<4>(groups.span, part), losses[0]};
  } else {
    VF mean, deviation;
    moments_of(groups, mean, deviation);
    const auto around_mean = [&](float deviations) HWY_ATTR {
      return grid_around<2>(mean, hn::Mul(deviation, hn::Set(df, deviations)));
    };
    const Params starts[] = {from_range, shrunk<2>(groups.span, hn::Set(df, Plan::kShrinks[0])),
                             around_mean(Plan::kDeviations[0]), around_mean(Plan::kDeviations[1])};
    VF losses[4];
    const Best best = best_of<2, kNorm>(groups, starts, losses);
    return {best, best.params, losses[0]};
  }
}

template <int kBits, ErrorNorm kNorm>
HWY_INLINE Params search_lanes(const LaneGroups& groups) {
  using Plan = SearchPlan<kBits>;
  const Params from_range = params_from_range<kBits>(groups.span.lo, groups.span.hi);
  auto [best, p, range_loss] = start_of<kBits, kNorm>(groups, from_range);
  for (int round = 0; round < Plan::kRounds; ++round) {
    Refiner<kBits, kNorm> refiner[] = {Refiner<kBits, kNorm>(groups.span, p)};
    add_all<kBits, kNorm>(groups, refiner);
    const VF loss = refiner[0].loss();
    if (kBits == 8 && round == 0) range_loss = loss;
    best.keep(p, loss);
    p = refiner[0].solution(Plan::kRelaxation);
  }
  Scorer<kBits, kNorm> last[] = {Scorer<kBits, kNorm>(groups.span, p)};
  add_all<kBits, kNorm>(groups, last);
  best.keep(p, last[0].loss());
  const DF df;
  const auto measurable = hn::Gt(groups.span.radius, hn::Set(df, kLeastRadius));
  const auto better = hn::Lt(best.loss, hn::Mul(range_loss, hn::Set(df, 1.0f - kLeastGain)));
  const auto searched = hn::And(measurable, better);
  return {hn::IfThenElse(searched, best.params.scale, from_range.scale),
          hn::IfThenElse(searched, best.params.offset, from_range.offset)};
}

template <int kBits, ErrorNorm kNorm>
HWY_NOINLINE void search_pairs(const TilePairs& pairs, size_t n, const Span* spans,
                               TileParams& params) {
  const DF df;
  for (size_t part = 0; part < kParts; ++part) {
    const size_t lane = part * kLanes;
    const Params p = search_lanes<kBits, kNorm>({pairs, lane, n, spans[part]});
    hn::Store(p.scale, df, params.scale + lane);
    hn::Store(p.offset, df, params.offset + lane);
  }
}

template <class From, int kBits>
HWY_NOINLINE void search_tile(ErrorNorm norm, const Tile<typename From::Element>& tile, size_t n,
                              const TileRange& range, TileParams& params) {
  const DF df;
  Span spans[kParts];
  TileSpan of_tile;
  for (size_t part = 0; part < kParts; ++part) {
    const size_t lane = part * kLanes;
    spans[part] = span_of<kBits>(hn::Load(df, range.lo + lane), hn::Load(df, range.hi + lane));
    hn::Store(spans[part].center, df, of_tile.center + lane);
    hn::Store(fixed_factor(spans[part]), df, of_tile.factor + lane);
  }
  TilePairs pairs;
  tile_to_pairs<From>(tile, n, of_tile, pairs);
  switch (norm) {
    case ErrorNorm::P2:
      return search_pairs<kBits, ErrorNorm::P2>(pairs, n, spans, params);
    case ErrorNorm::P2_5:
      return search_pairs<kBits, ErrorNorm::P2_5>(pairs, n, spans, params);
    case ErrorNorm::P3:
      return search_pairs<kBits, ErrorNorm::P3>(pairs, n, spans, params);
    case ErrorNorm::P4:
      return search_pairs<kBits, ErrorNorm::P4>(pairs, n, spans, params);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
