// Sixteen groups of a table at a time: where they are, and their ranges and weights with one
// group in each lane, so that whatever is then computed per group is the same for any vector
// width and any company.
#if defined(ARROW_QUANT_KERNELS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_TILE_INL_H_
#undef ARROW_QUANT_KERNELS_TILE_INL_H_
#else
#define ARROW_QUANT_KERNELS_TILE_INL_H_
#endif

#include "arrow_quant/kernels/convert-inl.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

// Rows and groups of the lanes; lanes beyond `count` repeat the first group.
template <class T>
struct Tile {
  const T* x[kTile];
  size_t row[kTile];
  size_t group[kTile];
  size_t count;
};

// Takes the groups of a table of T in order.
template <class T>
class TileCursor {
 public:
  explicit TileCursor(const GroupTable& table) : table_(table) {}

  HWY_INLINE bool next(Tile<T>& tile) {
    const T* x = static_cast<const T*>(table_.x);
    tile.count = 0;
    while (tile.count < kTile && row_ < table_.rows) {
      tile.x[tile.count] = x + row_ * table_.x_stride + group_ * table_.group_step;
      tile.row[tile.count] = row_;
      tile.group[tile.count] = group_;
      ++tile.count;
      if (++group_ == table_.groups_per_row) {
        group_ = 0;
        ++row_;
      }
    }
    for (size_t lane = tile.count; tile.count > 0 && lane < kTile; ++lane) {
      tile.x[lane] = tile.x[0];
    }
    return tile.count > 0;
  }

 private:
  const GroupTable& table_;
  size_t row_ = 0;
  size_t group_ = 0;
};

// Minimum and maximum of sixteen groups.
struct TileRange {
  alignas(64) float lo[kTile];
  alignas(64) float hi[kTile];
};

// The range of all groups seen so far, in lanes.
class RangeLanes {
 public:
  HWY_INLINE RangeLanes() {
    const DF df;
    abs_max_ = hn::Zero(df);
    min_scale_ = hn::Set(df, std::numeric_limits<float>::infinity());
    non_finite_ = hn::Zero(df);
  }

  // Remembers whether a weight in v is not finite.
  HWY_INLINE void check_finite(VF v) { non_finite_ = hn::Add(non_finite_, hn::Sub(v, v)); }

  template <int kBits>
  HWY_INLINE void add(const TileRange& range) {
    const DF df;
    for (size_t lane = 0; lane < kTile; lane += kLanes) {
      const VF lo = hn::Load(df, range.lo + lane);
      const VF hi = hn::Load(df, range.hi + lane);
      const VF abs_max = hn::Max(hn::Abs(lo), hn::Abs(hi));
      abs_max_ = hn::Max(abs_max_, abs_max);
      const VF steps = hn::Set(df, kBits == 8 ? 127.0f : static_cast<float>((1 << kBits) - 1));
      VF scale = hn::Div(abs_max, steps);
      if constexpr (kBits != 8) {
        const VF width = hn::Sub(hi, lo);
        scale = hn::IfThenElse(hn::Gt(width, hn::Zero(df)), hn::Div(width, steps), scale);
      }
      const VF none = hn::Set(df, std::numeric_limits<float>::infinity());
      min_scale_ = hn::Min(min_scale_, hn::IfThenElse(hn::Gt(scale, hn::Zero(df)), scale, none));
    }
  }

  HWY_INLINE Range get() const {
    const DF df;
    alignas(64) float abs_max[kLanes];
    alignas(64) float min_scale[kLanes];
    hn::Store(abs_max_, df, abs_max);
    hn::Store(min_scale_, df, min_scale);
    Range range;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      range.abs_max = HWY_MAX(range.abs_max, abs_max[lane]);
      range.min_scale = HWY_MIN(range.min_scale, min_scale[lane]);
    }
    range.finite = hn::AllTrue(df, hn::Eq(non_finite_, hn::Zero(df)));
    return range;
  }

 private:
  VF abs_max_, min_scale_, non_finite_;
};

// Weights of a group that are loaded together, as pairs of neighbours.
inline constexpr size_t kStripe = 2 * kTile;

// The last n < kStripe weights of a group, and `filler` up to a whole stripe.
template <class From>
HWY_INLINE void last_stripe(const typename From::Element* x, size_t n, float filler, float* out) {
  widen_from<From>(x, n, 1.0f, out);
  for (size_t i = n; i < kStripe; ++i) out[i] = filler;
}

// The extremes of a group, in lanes.
struct RangeOfGroup {
  VF lo[kParts], hi[kParts];

  HWY_INLINE RangeOfGroup() {
    const VF infinity = hn::Set(DF(), std::numeric_limits<float>::infinity());
    for (size_t part = 0; part < kParts; ++part) {
      lo[part] = infinity;
      hi[part] = hn::Neg(infinity);
    }
  }

  template <class From, bool kScan>
  HWY_INLINE void add_stripe(const typename From::Element* x, RangeLanes& total) {
    for (size_t part = 0; part < kParts; ++part) {
      VF a, b;
      load_two<From>(x + part * 2 * kLanes, a, b);
      lo[part] = hn::Min(hn::Min(a, b), lo[part]);
      hi[part] = hn::Max(hn::Max(a, b), hi[part]);
      if constexpr (kScan) {
        total.check_finite(a);
        total.check_finite(b);
      }
    }
  }
};

// kScan: nothing else reads the weights, so this fetches those ahead, and looks for some that are
// not finite; who encodes does so then.
template <class From, bool kScan>
HWY_INLINE RangeOfGroup range_of_group(const typename From::Element* x, size_t n,
                                       RangeLanes& total) {
  RangeOfGroup range;
  size_t i = 0;
  for (; i + kStripe <= n; i += kStripe) {
    if constexpr (kScan) prefetch_stripe(x + i);
    range.add_stripe<From, kScan>(x + i, total);
  }
  if (i < n) {
    float first;
    widen_from<From>(x, 1, 1.0f, &first);
    alignas(64) float rest[kStripe];
    last_stripe<From>(x + i, n - i, first, rest);
    range.add_stripe<FromF32, kScan>(rest, total);
  }
  return range;
}

using D16 = hn::CappedTag<uint16_t, kStripe>;
using D16x8 = hn::FixedTag<uint16_t, 8>;
using V16x8 = hn::Vec<D16x8>;

template <class D>
HWY_INLINE V16x8 fold_codes(D /*d*/, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 8) {
    return hn::BitCast(D16x8(), v);
  } else {
    const hn::Half<D> dh;
    return fold_codes(dh, hn::Max(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)));
  }
}

// The greatest codes of a group, as signed integers and as unsigned ones. Pre: n is a multiple of
// kStripe.
HWY_INLINE void greatest_codes(const uint16_t* x, size_t n, V16x8& as_signed, V16x8& as_unsigned) {
  const D16 du;
  const hn::RebindToSigned<D16> di;
  auto high = hn::Set(di, INT16_MIN);
  auto low = hn::Zero(du);
  for (size_t i = 0; i < n; i += hn::MaxLanes(D16())) {
    const auto codes = hn::LoadU(du, x + i);
    high = hn::Max(high, hn::BitCast(di, codes));
    low = hn::Max(low, codes);
  }
  as_signed = fold_codes(di, high);
  as_unsigned = fold_codes(du, low);
}

// The greatest code of each of four vectors, in the upper halves of the lanes.
template <class D>
HWY_INLINE hn::Vec<D> greatest_of_each(D d, const V16x8* v) {
  const D4 d4;
  V4 lanes[4];
  for (size_t j = 0; j < 4; ++j) {
    const auto pair = hn::BitCast(d, v[j]);
    lanes[j] = hn::BitCast(d4, hn::Max(pair, hn::ShiftLeft<16>(pair)));
  }
  transpose4(d4, lanes[0], lanes[1], lanes[2], lanes[3]);
  return hn::Max(hn::Max(hn::BitCast(d, lanes[0]), hn::BitCast(d, lanes[1])),
                 hn::Max(hn::BitCast(d, lanes[2]), hn::BitCast(d, lanes[3])));
}

// The ranges of 16 bit floats by their codes alone, which begin with the sign: the greatest as a
// signed integer is the greatest float, if that is not negative; the greatest as an unsigned one
// is the least float, if that is negative. False where a group has only weights of one sign.
// Pre: n is a multiple of kStripe.
template <class From>
HWY_INLINE bool range_by_codes(const Tile<uint16_t>& tile, size_t n, TileRange& range) {
  const hn::FixedTag<int32_t, 4> di;
  const hn::FixedTag<uint32_t, 4> du;
  alignas(64) uint32_t highest[kTile], lowest[kTile];
  auto all_signed = hn::Set(du, ~uint32_t{0});
  for (size_t quad = 0; quad < kTile; quad += 4) {
    V16x8 as_signed[4], as_unsigned[4];
    for (size_t j = 0; j < 4; ++j) {
      greatest_codes(tile.x[quad + j], n, as_signed[j], as_unsigned[j]);
    }
    const auto high = hn::BitCast(du, greatest_of_each(di, as_signed));
    const auto low = greatest_of_each(du, as_unsigned);
    all_signed = hn::And(all_signed, hn::AndNot(high, low));
    hn::Store(high, du, highest + quad);
    hn::Store(low, du, lowest + quad);
  }
  if (!hn::AllTrue(di, hn::Lt(hn::BitCast(di, all_signed), hn::Zero(di)))) return false;

  const DF df;
  uint16_t hi[kTile], lo[kTile];
  for (size_t lane = 0; lane < kTile; ++lane) {
    hi[lane] = static_cast<uint16_t>(highest[lane] >> 16);
    lo[lane] = static_cast<uint16_t>(lowest[lane] >> 16);
  }
  for (size_t lane = 0; lane < kTile; lane += kLanes) {
    // Adding zero turns −0 into +0.
    hn::Store(hn::Add(From::load(hi + lane), hn::Zero(df)), df, range.hi + lane);
    hn::Store(hn::Add(From::load(lo + lane), hn::Zero(df)), df, range.lo + lane);
  }
  return true;
}

template <class From, bool kScan>
HWY_INLINE void range_of_tile(const Tile<typename From::Element>& tile, size_t n, TileRange& range,
                              RangeLanes& total) {
  if constexpr (sizeof(typename From::Element) == sizeof(uint16_t) && !kScan) {
    if (n % kStripe == 0 && range_by_codes<From>(tile, n, range)) return;
  }
  const D4 d4;
  for (size_t quad = 0; quad < kTile; quad += 4) {
    V4 lo[4], hi[4];
    for (size_t j = 0; j < 4; ++j) {
      // Lanes that repeat the first group have it from there.
      const size_t lane = quad + j;
      if (lane < tile.count) {
        const RangeOfGroup group = range_of_group<From, kScan>(tile.x[lane], n, total);
        lo[j] = fold16<MinOp>(group.lo);
        hi[j] = fold16<MaxOp>(group.hi);
      } else {
        lo[j] = hn::Set(d4, range.lo[0]);
        hi[j] = hn::Set(d4, range.hi[0]);
      }
    }
    transpose4(d4, lo[0], lo[1], lo[2], lo[3]);
    transpose4(d4, hi[0], hi[1], hi[2], hi[3]);
    // Adding zero turns −0 into +0: which of the two a minimum is depends on the order.
    const V4 zero = hn::Zero(d4);
    hn::Store(hn::Add(hn::Min(hn::Min(lo[0], lo[1]), hn::Min(lo[2], lo[3])), zero), d4,
              range.lo + quad);
    hn::Store(hn::Add(hn::Max(hn::Max(hi[0], hi[1]), hn::Max(hi[2], hi[3])), zero), d4,
              range.hi + quad);
    if (tile.count <= quad + 4) {
      for (size_t lane = tile.count; lane < kTile; ++lane) {
        range.lo[lane] = range.lo[0];
        range.hi[lane] = range.hi[0];
      }
      break;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
