#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "arrow_quant/kernels/panels.cc"
#include <hwy/foreach_target.h>  // before the -inl.h files

#include "arrow_quant/kernels/panels-inl.h"

#if HWY_ONCE
namespace arrow_quant::kernels {

HWY_EXPORT(MultiplyAdd);
HWY_EXPORT(SweepColumns);
HWY_EXPORT(FitWeighted);

void multiply_add(const Multiplication& m) {
  HWY_DYNAMIC_DISPATCH(MultiplyAdd)(m);
}
void sweep(const Sweep& s) {
  HWY_DYNAMIC_DISPATCH(SweepColumns)(s);
}
void fit_weighted(const WeightedFit& fit) {
  HWY_DYNAMIC_DISPATCH(FitWeighted)(fit);
}

void load_panel(const float* x, size_t row_stride, size_t rows, size_t cols, float* panel) {
  for (size_t c = 0; c < cols; ++c) {
    const float* from = x + c;
    float* to = panel + c * kPanelRows;
    for (size_t r = 0; r < rows; ++r) to[r] = from[r * row_stride];
    for (size_t r = rows; r < kPanelRows; ++r) to[r] = 0.0f;
  }
}

}  // namespace arrow_quant::kernels
#endif  // HWY_ONCE
