#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "arrow_quant/kernels/kernels.cc"
#include <hwy/foreach_target.h>  // before the -inl.h files

#include "arrow_quant/kernels/compare-inl.h"
#include "arrow_quant/kernels/convert-inl.h"
#include "arrow_quant/kernels/grid-inl.h"
#include "arrow_quant/kernels/quantize-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {
const char* Target() {
  return hwy::TargetName(HWY_TARGET);
}
}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace arrow_quant::kernels {

HWY_EXPORT(QuantizeGroups);
HWY_EXPORT(ScanGroups);
HWY_EXPORT(DequantizeRow);
HWY_EXPORT(DequantizeZeroPointRow);
HWY_EXPORT(PackCodes);
HWY_EXPORT(UnpackCodes);
HWY_EXPORT(Widen);
HWY_EXPORT(Narrow);
HWY_EXPORT(Compare);
HWY_EXPORT(GridValues);
HWY_EXPORT(GridErrors);
HWY_EXPORT(Target);

Range quantize_groups(const GroupTable& table, const Coding& coding) {
  return HWY_DYNAMIC_DISPATCH(QuantizeGroups)(table, coding);
}
Range scan_groups(const GroupTable& table, int bits) {
  return HWY_DYNAMIC_DISPATCH(ScanGroups)(table, bits);
}
void dequantize_row(const CodedRow& row, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeRow)(row, out);
}
void dequantize_row(const ZeroPointRow& row, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeZeroPointRow)(row, out);
}
void pack_codes(const uint8_t* codes, size_t count, int bits, uint8_t* packed) {
  HWY_DYNAMIC_DISPATCH(PackCodes)(codes, count, bits, packed);
}
void unpack_codes(const uint8_t* packed, size_t count, int bits, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(UnpackCodes)(packed, count, bits, codes);
}
void widen(const void* data, DType dtype, size_t count, float factor, float* out) {
  HWY_DYNAMIC_DISPATCH(Widen)(data, dtype, count, factor, out);
}
void narrow(const float* data, size_t count, DType dtype, void* out) {
  HWY_DYNAMIC_DISPATCH(Narrow)(data, count, dtype, out);
}
CompareSums compare(const float* x, const float* y, size_t count) {
  return HWY_DYNAMIC_DISPATCH(Compare)(x, y, count);
}
void grid_values(const float* x, size_t count, const UniformGrid& grid, float* out) {
  HWY_DYNAMIC_DISPATCH(GridValues)(x, count, grid, out);
}
void grid_errors(const float* x, size_t count, const UniformGrid& grid, float* out) {
  HWY_DYNAMIC_DISPATCH(GridErrors)(x, count, grid, out);
}
const char* active_target() {
  return HWY_DYNAMIC_DISPATCH(Target)();
}

}  // namespace arrow_quant::kernels
#endif  // HWY_ONCE
