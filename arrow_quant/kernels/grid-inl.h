// Values to a grid of equal steps, and what they lose on it.
#if defined(ARROW_QUANT_KERNELS_GRID_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_GRID_INL_H_
#undef ARROW_QUANT_KERNELS_GRID_INL_H_
#else
#define ARROW_QUANT_KERNELS_GRID_INL_H_
#endif

#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

// d: a tag of one lane for values that do not fill a vector.
template <bool kErrors, class D>
HWY_INLINE void to_grid_at(D d, const float* x, const UniformGrid& grid, float* out) {
  const auto value = hn::LoadU(d, x);
  const auto scale = hn::Set(d, grid.scale);
  const auto offset = hn::Set(d, grid.offset);
  const auto rounder = hn::Set(d, kRounder);
  const auto place = hn::Div(hn::Sub(value, offset), scale);
  const auto held = hn::Min(hn::Max(place, hn::Set(d, grid.least)), hn::Set(d, grid.most));
  const auto code = hn::Sub(hn::Add(held, rounder), rounder);
  const auto nearest = hn::Add(hn::Mul(code, scale), offset);
  hn::StoreU(kErrors ? hn::Sub(nearest, value) : nearest, d, out);
}

template <bool kErrors>
HWY_INLINE void to_grid(const float* x, size_t count, const UniformGrid& grid, float* out) {
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) to_grid_at<kErrors>(DF(), x + i, grid, out + i);
  for (; i < count; ++i) to_grid_at<kErrors>(hn::CappedTag<float, 1>(), x + i, grid, out + i);
}

void GridValues(const float* x, size_t count, const UniformGrid& grid, float* out) {
  to_grid<false>(x, count, grid, out);
}
void GridErrors(const float* x, size_t count, const UniformGrid& grid, float* out) {
  to_grid<true>(x, count, grid, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
