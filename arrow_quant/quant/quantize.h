// Rows of a weight ↔ packed codes with one (scale, offset) pair per group.
//
// A weight is seen as [rows, cols] = [out, in·…]. Groups run along a row and never cross its end;
// the last group of a row may be shorter.
//   w ≈ tensor_scale · (scale · code + offset)
// 2 and 4 bits: unsigned codes 0 … 2^b − 1, scale and offset in fp16. 8 bits: signed codes
// −127 … 127, scale in fp16, no offset.
//
// Packing "lsb_first": with 8/b codes a byte, code i of a row lies in byte i / (8/b), at bit
// (i mod 8/b)·b. Each row starts on a byte; pad bits are 0.
//   4 bits:  byte 0 = [code1 | code0]        2 bits:  byte 0 = [code3|code2|code1|code0]
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/dtype.h"
#include "arrow_quant/quant/bit_width.h"
#include "arrow_quant/quant/metrics.h"

namespace arrow_quant {

enum class QuantMethod {
  Rtn,  // round to nearest on the group's minimum … maximum (8 bits: ± absolute maximum)
  Mse,  // scale and offset that minimize Σ|w − ŵ|^p: coordinate descent from several starts
};
std::string_view to_string(QuantMethod method);  // "rtn", "mse"
std::optional<QuantMethod> parse_quant_method(std::string_view name);

struct QuantizeSpec {
  BitWidth bit_width = BitWidth::Int4;
  size_t group_size = 128;  // 32, 64, 128 or 256
  QuantMethod method = QuantMethod::Mse;
  double error_norm = 3.0;  // the p of Mse: 2, 2.5, 3 or 4
};

// The weights of some consecutive rows: contiguous, row-major, at `data` (no alignment needed).
struct RowsView {
  const void* data = nullptr;
  DType dtype = DType::F32;  // a quantizable type
  size_t rows = 0;
  size_t cols = 0;
};

// Where the codes and parameters of the same rows go. Strides are in bytes and in elements.
// If `cols` is a part of a longer row (it then starts at a multiple of 256), the pointers point at
// the part's first code and first group.
struct CodesOut {
  uint8_t* codes = nullptr;
  size_t codes_stride_bytes = 0;
  uint16_t* scales = nullptr;   // fp16
  uint16_t* offsets = nullptr;  // fp16; unused for 8 bits
  size_t params_stride = 0;     // groups between the first groups of two rows
};

struct CodesView {
  const uint8_t* codes = nullptr;
  size_t codes_stride_bytes = 0;
  const uint16_t* scales = nullptr;
  const uint16_t* offsets = nullptr;
  size_t params_stride = 0;
  size_t rows = 0;
  size_t cols = 0;
  BitWidth bit_width = BitWidth::Int4;
  size_t group_size = 128;
  float tensor_scale = 1.0f;
};

// What a pass over source weights learned about their range.
struct RangeStats {
  float abs_max = 0;  // of the finite weights
  // The smallest scale > 0 that a group would get by Rtn at tensor_scale 1; +infinity if none.
  float min_scale = __builtin_huge_valf();
  // Elements from the start of the view; the value as the source has it (NaN, ±infinity, or a
  // double beyond float32's range).
  struct NonFinite {
    size_t index;
    double value;
  };
  std::optional<NonFinite> non_finite;  // the first

  // Adds the stats of the elements that follow; `offset`: their start in elements.
  void merge(const RangeStats& next, size_t offset);
};

// Reused between calls by one thread, so that no pass allocates.
struct QuantizeScratch {
  Buffer floats;
  Buffer work;
};

// Quantizes the rows at the given tensor_scale and measures the result after a real
// dequantization. Where a weight is not finite, `range` says so and codes are unspecified.
// Identical bytes and sums for any split of a weight into calls by whole rows, on any instruction
// set. Cost: one pass over the source; it stays in cache if the view fits there.
void quantize_rows(const RowsView& source, const QuantizeSpec& spec, float tensor_scale,
                   const CodesOut& out, ErrorStats& error, RangeStats& range,
                   QuantizeScratch& scratch);

// Only the range (a pass at memory speed).
RangeStats scan_rows(const RowsView& source, BitWidth width, size_t group_size,
                     QuantizeScratch& scratch);

// Rounding to fp16 may move a group's ends outward by a thousandth and a search by a step: beyond
// this, what is restored could be infinite, and a weight should be kept.
inline constexpr float kLargestQuantized = 0x1p127f;

// 1 if fp16 holds every group's parameters as normal numbers with room for the search, else the
// power of two that puts abs_max just below fp16's largest values. A pure function of the range.
float choose_tensor_scale(const RangeStats& range);

// Writes rows · cols elements of `dtype` (F32, F16 or BF16; rounded to nearest even) at `out`,
// contiguous. This is the code that a user's load and every measurement run.
void dequantize_rows(const CodesView& codes, DType dtype, void* out, QuantizeScratch& scratch);

// Adds Σ over the elements of `source` against `restored` (float32, same shape).
void compare_rows(const RowsView& source, const float* restored, ErrorStats& error,
                  QuantizeScratch& scratch);

// Widens `count` elements of a quantizable dtype to float32.
void widen_to_f32(const void* data, DType dtype, size_t count, float* out);
// Rounds to nearest even. dtype: F32, F16 or BF16.
void narrow_from_f32(const float* data, size_t count, DType dtype, void* out);

}  // namespace arrow_quant
