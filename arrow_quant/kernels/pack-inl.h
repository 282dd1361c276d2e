// Codes, one a byte, to packed codes and back (lsb_first).
#if defined(ARROW_QUANT_KERNELS_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_PACK_INL_H_
#undef ARROW_QUANT_KERNELS_PACK_INL_H_
#else
#define ARROW_QUANT_KERNELS_PACK_INL_H_
#endif

#include "arrow_quant/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

// As many codes as fit a vector of D8, to kBits / 8 times as many bytes.
template <int kBits, class D8>
HWY_INLINE void pack_vector(D8 d8, const uint8_t* codes, uint8_t* packed) {
  const auto bytes = hn::LoadU(d8, codes);
  if constexpr (kBits == 4) {
    const hn::Repartition<uint16_t, D8> dw;
    const hn::Rebind<uint8_t, decltype(dw)> d_out;
    const auto w = hn::BitCast(dw, bytes);
    hn::StoreU(hn::TruncateTo(d_out, hn::Or(w, hn::ShiftRight<4>(w))), d_out, packed);
  } else {
    const hn::Repartition<uint32_t, D8> dw;
    const hn::Rebind<uint8_t, decltype(dw)> d_out;
    const auto w = hn::BitCast(dw, bytes);
    const auto low = hn::Or(w, hn::ShiftRight<6>(w));
    const auto high = hn::Or(hn::ShiftRight<12>(w), hn::ShiftRight<18>(w));
    hn::StoreU(hn::TruncateTo(d_out, hn::Or(low, high)), d_out, packed);
  }
}

template <int kBits>
HWY_INLINE void pack(const uint8_t* codes, size_t count, uint8_t* packed) {
  if constexpr (kBits == 8) {
    memcpy(packed, codes, count);
    return;
  } else {
    constexpr size_t kPerByte = 8 / kBits;
    const hn::CappedTag<uint8_t, 64> d8;
    const hn::FixedTag<uint8_t, 16> d16;
    size_t i = 0;
    for (; i + hn::Lanes(d8) <= count; i += hn::Lanes(d8)) {
      pack_vector<kBits>(d8, codes + i, packed + i / kPerByte);
    }
    for (; i + 16 <= count; i += 16) {
      pack_vector<kBits>(d16, codes + i, packed + i / kPerByte);
    }
    for (; i < count; i += kPerByte) {
      unsigned byte = 0;
      for (size_t j = 0; j < kPerByte && i + j < count; ++j) {
        byte |= unsigned{codes[i + j]} << (j * kBits);
      }
      packed[i / kPerByte] = static_cast<uint8_t>(byte);
    }
  }
}

template <int kBits, class D8>
HWY_INLINE void unpack_vector(D8 d8, const uint8_t* packed, uint8_t* codes) {
  if constexpr (kBits == 4) {
    const hn::Repartition<uint16_t, D8> dw;
    const hn::Rebind<uint8_t, decltype(dw)> d_in;
    const auto w = hn::PromoteTo(dw, hn::LoadU(d_in, packed));
    const auto spread = hn::And(hn::Or(w, hn::ShiftLeft<4>(w)), hn::Set(dw, uint16_t{0x0F0F}));
    hn::StoreU(hn::BitCast(d8, spread), d8, codes);
  } else {
    const hn::Repartition<uint32_t, D8> dw;
    const hn::Rebind<uint8_t, decltype(dw)> d_in;
    const auto w = hn::PromoteTo(dw, hn::LoadU(d_in, packed));
    const auto low = hn::Or(w, hn::ShiftLeft<6>(w));
    const auto high = hn::Or(hn::ShiftLeft<12>(w), hn::ShiftLeft<18>(w));
    const auto spread = hn::And(hn::Or(low, high), hn::Set(dw, 0x03030303u));
    hn::StoreU(hn::BitCast(d8, spread), d8, codes);
  }
}

template <int kBits>
HWY_INLINE void unpack(const uint8_t* packed, size_t count, uint8_t* codes) {
  if constexpr (kBits == 8) {
    memcpy(codes, packed, count);
    return;
  } else {
    constexpr size_t kPerByte = 8 / kBits;
    const hn::CappedTag<uint8_t, 64> d8;
    const hn::FixedTag<uint8_t, 16> d16;
    size_t i = 0;
    for (; i + hn::Lanes(d8) <= count; i += hn::Lanes(d8)) {
      unpack_vector<kBits>(d8, packed + i / kPerByte, codes + i);
    }
    for (; i + 16 <= count; i += 16) {
      unpack_vector<kBits>(d16, packed + i / kPerByte, codes + i);
    }
    for (; i < count; ++i) {
      codes[i] = (packed[i / kPerByte] >> (i % kPerByte * kBits)) & ((1u << kBits) - 1u);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
