// Element types to float and back.
#if defined(ARROW_QUANT_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_CONVERT_INL_H_
#undef ARROW_QUANT_KERNELS_CONVERT_INL_H_
#else
#define ARROW_QUANT_KERNELS_CONVERT_INL_H_
#endif

#include "arrow_quant/core/dtype.h"
#include "arrow_quant/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

struct FromF32 {
  using Element = float;
  static HWY_INLINE VF load(const float* in) { return hn::LoadU(DF(), in); }
};

struct FromF64 {
  using Element = double;
  static HWY_INLINE VF load(const double* in) {
    // The compiler's own conversion: Highway's saturates where it is emulated.
    double wide[kLanes];
    alignas(64) float rounded[kLanes];
    memcpy(wide, in, sizeof(wide));
    for (size_t lane = 0; lane < kLanes; ++lane) rounded[lane] = static_cast<float>(wide[lane]);
    return hn::Load(DF(), rounded);
  }
};

struct FromBF16 {
  using Element = uint16_t;
  static HWY_INLINE VF load(const uint16_t* in) {
    const DU du;
    const hn::Rebind<uint16_t, DF> du16;
    return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(du16, in))));
  }
};

// Small floats with kExponent and kMantissa bits below the sign. kInfinity: the topmost exponent
// holds infinity and NaNs; else only the code with all bits set is NaN.
template <class T, int kExponent, int kMantissa, bool kInfinity>
struct FromSmall {
  using Element = T;
  static HWY_INLINE VF load(const T* in) {
    const DF df;
    const DU du;
    const DI di;
    const hn::Rebind<T, DF> d_in;
    constexpr int kBias = (1 << (kExponent - 1)) - 1;
    constexpr int kShift = 23 - kMantissa;
    constexpr uint32_t kAll = (1u << (kExponent + kMantissa)) - 1u;
    const auto code = hn::PromoteTo(du, hn::LoadU(d_in, in));
    const auto sign = hn::ShiftLeft<31>(hn::ShiftRight<kExponent + kMantissa>(code));
    const auto magnitude = hn::And(code, hn::Set(du, kAll));
    const auto shifted = hn::ShiftLeft<kShift>(magnitude);
    const auto normal = hn::Add(shifted, hn::Set(du, static_cast<uint32_t>(127 - kBias) << 23));
    const VF unit =
        hn::BitCast(df, hn::Set(du, static_cast<uint32_t>(127 + 1 - kBias - kMantissa) << 23));
    const auto subnormal =
        hn::BitCast(du, hn::Mul(hn::ConvertTo(df, hn::BitCast(di, magnitude)), unit));
    const auto is_small = hn::Lt(hn::BitCast(di, magnitude), hn::Set(di, 1 << kMantissa));
    auto bits = hn::IfThenElse(hn::RebindMask(du, is_small), subnormal, normal);
    constexpr uint32_t kFirstSpecial = kInfinity ? kAll - ((1u << kMantissa) - 1u) : kAll;
    const auto is_special =
        hn::Gt(hn::BitCast(di, magnitude), hn::Set(di, static_cast<int32_t>(kFirstSpecial) - 1));
    const auto special = hn::Or(shifted, hn::Set(du, kInfinity ? 0x7F800000u : 0x7FC00000u));
    bits = hn::IfThenElse(hn::RebindMask(du, is_special), special, bits);
    return hn::BitCast(df, hn::Or(bits, sign));
  }
};
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
struct FromF16 {
  using Element = uint16_t;
  static HWY_INLINE VF load(const uint16_t* in) {
    const hn::Rebind<uint16_t, DF> du16;
    const hn::Rebind<hwy::float16_t, DF> df16;
    return hn::PromoteTo(DF(), hn::BitCast(df16, hn::LoadU(du16, in)));
  }
};
#else
using FromF16 = FromSmall<uint16_t, 5, 10, true>;
#endif
using FromE5M2 = FromSmall<uint8_t, 5, 2, true>;
using FromE4M3 = FromSmall<uint8_t, 4, 3, false>;

// Two vectors of weights, in an order that is all the same to the caller.
template <class From>
HWY_INLINE void load_two(const typename From::Element* in, VF& a, VF& b) {
  a = From::load(in);
  b = From::load(in + kLanes);
}

// The same as pairs of neighbours: those with even places from `in`, and those with odd ones.
template <class From>
HWY_INLINE void load_pairs(const typename From::Element* in, VF& even, VF& odd) {
  const DF df;
  VF a, b;
  load_two<From>(in, a, b);
  even = hn::ConcatEven(df, b, a);
  odd = hn::ConcatOdd(df, b, a);
}

// Neighbours share the 32 bits that one of them needs.
template <>
HWY_INLINE void load_pairs<FromBF16>(const uint16_t* in, VF& even, VF& odd) {
  const DF df;
  const DU du;
  const auto both = hn::BitCast(du, hn::LoadU(hn::Repartition<uint16_t, DF>(), in));
  even = hn::BitCast(df, hn::ShiftLeft<16>(both));
  odd = hn::BitCast(df, hn::And(both, hn::Set(du, 0xFFFF0000u)));
}
template <>
HWY_INLINE void load_two<FromBF16>(const uint16_t* in, VF& a, VF& b) {
  load_pairs<FromBF16>(in, a, b);
}

// Far enough ahead of the loads that memory keeps up with them; no multiple of 4096 bytes, which
// would contend for the places in the cache that the loads use.
inline constexpr size_t kPrefetchBytes = 5120;

// Fetches the weights that far ahead of 2 · kTile from x on.
template <class T>
HWY_INLINE void prefetch_stripe(const T* x) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(x) + kPrefetchBytes;
  for (size_t at = 0; at < 2 * kTile * sizeof(T); at += 64) hwy::Prefetch(bytes + at);
}

template <class From>
HWY_INLINE void widen_from(const void* data, size_t count, float factor, float* out) {
  using T = typename From::Element;
  const DF df;
  const VF times = hn::Set(df, factor);
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  size_t i = 0;
  for (; i + 16 <= count; i += 16, bytes += 16 * sizeof(T)) {
    hwy::Prefetch(bytes + kPrefetchBytes);
    for (size_t lane = 0; lane < 16; lane += kLanes) {
      const VF v = From::load(reinterpret_cast<const T*>(bytes) + lane);
      hn::StoreU(hn::Mul(v, times), df, out + i + lane);
    }
  }
  if (i < count) {
    T rest[16] = {};
    alignas(64) float wide[16];
    memcpy(rest, bytes, (count - i) * sizeof(T));
    for (size_t lane = 0; lane < 16; lane += kLanes) {
      hn::StoreU(hn::Mul(From::load(rest + lane), times), df, wide + lane);
    }
    memcpy(out + i, wide, (count - i) * sizeof(float));
  }
}

void Widen(const void* data, DType dtype, size_t count, float factor, float* out) {
  switch (dtype) {
    case DType::F64:
      return widen_from<FromF64>(data, count, factor, out);
    case DType::F16:
      return widen_from<FromF16>(data, count, factor, out);
    case DType::BF16:
      return widen_from<FromBF16>(data, count, factor, out);
    case DType::F8_E4M3:
      return widen_from<FromE4M3>(data, count, factor, out);
    case DType::F8_E5M2:
      return widen_from<FromE5M2>(data, count, factor, out);
    default:
      return widen_from<FromF32>(data, count, factor, out);
  }
}

// Highway's Ne is false for NaN on some targets.
HWY_INLINE hn::Mask<DF> is_nan(VF v) {
  return hn::Not(hn::Eq(v, v));
}

struct ToBF16 {
  static HWY_INLINE hn::Vec<DU> bits(VF v) {
    const DU du;
    const auto wide = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(wide), hn::Set(du, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(wide, hn::Add(odd, hn::Set(du, 0x7FFFu))));
    const auto nan = hn::Or(hn::ShiftRight<16>(wide), hn::Set(du, 0x40u));
    return hn::IfThenElse(hn::RebindMask(du, is_nan(v)), nan, rounded);
  }
};

struct ToF16 {
  static HWY_INLINE hn::Vec<DU> bits(VF v) {
    const DF df;
    const DU du;
    const auto wide = hn::BitCast(du, v);
    const auto sign = hn::ShiftLeft<15>(hn::ShiftRight<31>(wide));
    const VF magnitude = hn::Abs(v);
    const auto m = hn::BitCast(du, magnitude);
    const auto odd = hn::And(hn::ShiftRight<13>(m), hn::Set(du, 1u));
    const auto rounded = hn::Add(m, hn::Add(odd, hn::Set(du, 0xFFFu)));
    auto half = hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 0x38000000u)));
    const auto subnormal =
        hn::Sub(hn::BitCast(du, hn::Add(magnitude, hn::Set(df, 0.5f))), hn::Set(du, 0x3F000000u));
    const auto small = hn::Lt(magnitude, hn::Set(df, kHalfMinNormal));
    half = hn::IfThenElse(hn::RebindMask(du, small), subnormal, half);
    const auto large = hn::Ge(magnitude, hn::Set(df, 65536.0f));
    half = hn::IfThenElse(hn::RebindMask(du, large), hn::Set(du, 0x7C00u), half);
    half = hn::IfThenElse(hn::RebindMask(du, is_nan(v)), hn::Set(du, 0x7E00u), half);
    return hn::Or(half, sign);
  }
};

template <class To>
HWY_INLINE void narrow_to(const float* data, size_t count, uint16_t* out) {
  const DF df;
  const DI di;
  const hn::Rebind<uint16_t, DF> du16;
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto bits = To::bits(hn::LoadU(df, data + i));
    hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, bits)), du16, out + i);
  }
  if (i < count) {
    float rest[kLanes] = {};
    uint16_t bits[kLanes];
    memcpy(rest, data + i, (count - i) * sizeof(float));
    hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, To::bits(hn::LoadU(df, rest)))), du16, bits);
    memcpy(out + i, bits, (count - i) * sizeof(uint16_t));
  }
}

void Narrow(const float* data, size_t count, DType dtype, void* out) {
  switch (dtype) {
    case DType::F16:
      return narrow_to<ToF16>(data, count, static_cast<uint16_t*>(out));
    case DType::BF16:
      return narrow_to<ToBF16>(data, count, static_cast<uint16_t*>(out));
    default:
      memcpy(out, data, count * sizeof(float));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
