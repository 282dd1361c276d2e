// Sums over originals against restored values, in double: they may be of any magnitude.
#if defined(ARROW_QUANT_KERNELS_COMPARE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_COMPARE_INL_H_
#undef ARROW_QUANT_KERNELS_COMPARE_INL_H_
#else
#define ARROW_QUANT_KERNELS_COMPARE_INL_H_
#endif

#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

using DD = hn::CappedTag<double, 8>;
using VD = hn::Vec<DD>;
inline constexpr size_t kDoubleLanes = hn::MaxLanes(DD());
inline constexpr size_t kDoubleParts = 8 / kDoubleLanes;

// Eight partial values to one: (p[j] ∘ p[j + 4]), then ∘ p[j + 2], then ∘ p[j + 1].
HWY_INLINE double fold8(const VD* parts, bool maximum) {
  alignas(64) double p[8];
  for (size_t part = 0; part < kDoubleParts; ++part) {
    hn::Store(parts[part], DD(), p + part * kDoubleLanes);
  }
  for (size_t half = 4; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) {
      p[j] = maximum ? HWY_MAX(p[j], p[j + half]) : p[j] + p[j + half];
    }
  }
  return p[0];
}

CompareSums Compare(const float* x, const float* y, size_t count) {
  const DD dd;
  const hn::Rebind<float, DD> df;
  VD dot[kDoubleParts], xx[kDoubleParts], yy[kDoubleParts], ee[kDoubleParts], max[kDoubleParts];
  for (size_t part = 0; part < kDoubleParts; ++part) {
    dot[part] = xx[part] = yy[part] = ee[part] = max[part] = hn::Zero(dd);
  }
  for (size_t i = 0; i < count; i += 8) {
    float rest_x[8] = {}, rest_y[8] = {};
    const float* from_x = x + i;
    const float* from_y = y + i;
    if (count - i < 8) {
      memcpy(rest_x, from_x, (count - i) * sizeof(float));
      memcpy(rest_y, from_y, (count - i) * sizeof(float));
      from_x = rest_x;
      from_y = rest_y;
    }
    for (size_t part = 0; part < kDoubleParts; ++part) {
      const VD a = hn::PromoteTo(dd, hn::LoadU(df, from_x + part * kDoubleLanes));
      const VD b = hn::PromoteTo(dd, hn::LoadU(df, from_y + part * kDoubleLanes));
      const VD e = hn::Sub(a, b);
      dot[part] = hn::Add(dot[part], hn::Mul(a, b));
      xx[part] = hn::Add(xx[part], hn::Mul(a, a));
      yy[part] = hn::Add(yy[part], hn::Mul(b, b));
      ee[part] = hn::Add(ee[part], hn::Mul(e, e));
      max[part] = hn::Max(max[part], hn::Abs(e));
    }
  }
  return {fold8(dot, false), fold8(xx, false), fold8(yy, false), fold8(ee, false),
          fold8(max, true)};
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
