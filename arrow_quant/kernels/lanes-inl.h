// What all kernels share: vectors of at most 16 floats, sixteen lanes as some such vectors, and
// rounding to fp16 in the lanes. Everything here rounds alike on every instruction set.
#include <hwy/highway.h>

#if defined(ARROW_QUANT_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_LANES_INL_H_
#undef ARROW_QUANT_KERNELS_LANES_INL_H_
#else
#define ARROW_QUANT_KERNELS_LANES_INL_H_
#endif

#include <hwy/cache_control.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using D4 = hn::FixedTag<float, 4>;
using V4 = hn::Vec<D4>;

inline constexpr size_t kTile = 16;  // groups that are worked on together
inline constexpr size_t kLanes = hn::MaxLanes(DF());
inline constexpr size_t kParts = kTile / kLanes;

// Adding and subtracting it rounds |v| < 2^22 to an integer, to nearest even; the sum's low bits
// are that integer.
inline constexpr float kRounder = 12582912.0f;  // 1.5 · 2^23

inline constexpr float kHalfMax = 65504.0f;
inline constexpr float kHalfTiny = 0x1p-24f;  // smallest positive half
inline constexpr float kHalfMinNormal = 0x1p-14f;

// Transposes 4 × 4 floats, in each block of 128 bits.
template <class D>
HWY_INLINE void transpose4(D d, hn::Vec<D>& a, hn::Vec<D>& b, hn::Vec<D>& c, hn::Vec<D>& e) {
  const hn::RepartitionToWide<D> dw;
  const auto ab_lo = hn::BitCast(dw, hn::InterleaveLower(d, a, b));
  const auto ab_hi = hn::BitCast(dw, hn::InterleaveUpper(d, a, b));
  const auto ce_lo = hn::BitCast(dw, hn::InterleaveLower(d, c, e));
  const auto ce_hi = hn::BitCast(dw, hn::InterleaveUpper(d, c, e));
  a = hn::BitCast(d, hn::InterleaveLower(dw, ab_lo, ce_lo));
  b = hn::BitCast(d, hn::InterleaveUpper(dw, ab_lo, ce_lo));
  c = hn::BitCast(d, hn::InterleaveLower(dw, ab_hi, ce_hi));
  e = hn::BitCast(d, hn::InterleaveUpper(dw, ab_hi, ce_hi));
}

struct AddOp {
  template <class V>
  static HWY_INLINE V apply(V a, V b) {
    return hn::Add(a, b);
  }
};
struct MinOp {
  template <class V>
  static HWY_INLINE V apply(V a, V b) {
    return hn::Min(a, b);
  }
};
struct MaxOp {
  template <class V>
  static HWY_INLINE V apply(V a, V b) {
    return hn::Max(a, b);
  }
};

template <class Op, class D>
HWY_INLINE V4 fold_halves(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> dh;
    return fold_halves<Op>(dh, Op::apply(hn::LowerHalf(dh, v), hn::UpperHalf(dh, v)));
  }
}

// Sixteen lanes to four, in one order for every vector width:
// lane j = (p[j] ∘ p[j + 8]) ∘ (p[j + 4] ∘ p[j + 12]).
template <class Op>
HWY_INLINE V4 fold16(const VF* parts) {
  if constexpr (kParts == 1) {
    return fold_halves<Op>(DF(), parts[0]);
  } else if constexpr (kParts == 2) {
    return fold_halves<Op>(DF(), Op::apply(parts[0], parts[1]));
  } else {
    return Op::apply(Op::apply(parts[0], parts[2]), Op::apply(parts[1], parts[3]));
  }
}

// The fp16 value nearest to v (to even); never −0. Pre: |v| ≤ kHalfMax.
HWY_INLINE VF round_to_half(VF v) {
  const DF df;
  const DU du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(du, 1u));
  const auto up = hn::Add(bits, hn::Add(odd, hn::Set(du, 0xFFFu)));
  const VF normal = hn::BitCast(df, hn::AndNot(hn::Set(du, 0x1FFFu), up));
  // Half's subnormals are the multiples of 2^-24, which is the last bit of floats in [0.5, 1).
  const VF magnitude = hn::Abs(v);
  const VF half = hn::Set(df, 0.5f);
  const VF subnormal = hn::CopySign(hn::Sub(hn::Add(magnitude, half), half), v);
  const auto small = hn::Lt(magnitude, hn::Set(df, kHalfMinNormal));
  return hn::Add(hn::IfThenElse(small, subnormal, normal), hn::Zero(df));
}

// The greatest fp16 value ≤ v. Pre: |v| ≤ kHalfMax.
HWY_INLINE VF floor_to_half(VF v) {
  const DF df;
  const DU du;
  const VF rounded = round_to_half(v);
  const VF power = hn::BitCast(df, hn::And(hn::BitCast(du, rounded), hn::Set(du, 0x7F800000u)));
  const VF spacing = hn::Max(hn::Mul(power, hn::Set(df, 0x1p-10f)), hn::Set(df, kHalfTiny));
  return hn::IfThenElse(hn::Gt(rounded, v), hn::Sub(rounded, spacing), rounded);
}

HWY_INLINE VF clamp_to_half(VF v) {
  const DF df;
  return hn::Min(hn::Max(v, hn::Set(df, -kHalfMax)), hn::Set(df, kHalfMax));
}

// Nearest fp16 > 0.
HWY_INLINE VF round_scale(VF v) {
  const DF df;
  return round_to_half(hn::Min(hn::Max(v, hn::Set(df, kHalfTiny)), hn::Set(df, kHalfMax)));
}
HWY_INLINE VF round_offset(VF v) {
  return round_to_half(clamp_to_half(v));
}

// Bits of v as fp16, v being exactly one.
HWY_INLINE void store_half(VF v, uint16_t* out) {
  const DF df;
  const DU du;
  const DI di;
  const hn::Rebind<uint16_t, DF> du16;
  const auto bits = hn::BitCast(du, v);
  const auto sign = hn::ShiftLeft<15>(hn::ShiftRight<31>(bits));
  const VF magnitude = hn::Abs(v);
  const auto normal =
      hn::ShiftRight<13>(hn::Sub(hn::BitCast(du, magnitude), hn::Set(du, 0x38000000u)));
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(magnitude, hn::Set(df, 0.5f))), hn::Set(du, 0x3F000000u));
  const auto small = hn::RebindMask(du, hn::Lt(magnitude, hn::Set(df, kHalfMinNormal)));
  const auto half = hn::Or(sign, hn::IfThenElse(small, subnormal, normal));
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, half)), du16, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
