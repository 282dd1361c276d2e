// The menu of vector loops: spans and strides in, spans out. A kernel never allocates and never
// fails; whoever calls it has checked sizes and types. Each is compiled for several instruction
// sets and chosen at run time; all of them write the bytes and sums that reference.h defines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "arrow_quant/core/dtype.h"

namespace arrow_quant::kernels {

inline constexpr size_t kMaxGroupSize = 256;

// The p of the error Σ|d|^p that a search minimizes; those whose powers need only products and
// square roots, which round alike everywhere.
enum class ErrorNorm : uint8_t { P2, P2_5, P3, P4 };

// How codes and parameters of a group are chosen.
struct Coding {
  int bits = 4;         // 2, 4: unsigned codes, scale and offset; 8: signed codes, scale
  bool search = false;  // false: from minimum and maximum; true: scale and offset are searched
  ErrorNorm norm = ErrorNorm::P3;  // of the search
};

// Groups of a row whose error sums are one entry: groups 0 … 15, 16 … 31 and so on.
inline constexpr size_t kRunGroups = 16;

// Error sums of a run of groups. The other sums follow without loss: Σx·y = Σx² − Σx·e and
// Σy² = Σx² − 2Σx·e + Σe², with e = x − y.
struct RunSums {
  float original_sq = 0;     // Σx²; NaN or infinite if a weight is
  float original_error = 0;  // Σx·e
  float error_sq = 0;        // Σe²
  float max_abs_error = 0;   // 0 if its square is less than the smallest float
};

// Groups of one length in rows of weights, and where their results go. Group j of row r starts at
// x + r · x_stride + j · group_step; the other pointers advance by their own strides a row, and by
// group_step · bits / 8 bytes or one element a group (sums: a run).
struct GroupTable {
  const void* x = nullptr;
  DType dtype = DType::F32;  // of x, aligned to its elements: F32, F16 or BF16
  size_t x_stride = 0;
  size_t rows = 0;
  size_t groups_per_row = 0;
  size_t group_step = 0;  // a multiple of 4 if there is more than one group a row
  size_t group_size = 0;  // 1 … kMaxGroupSize
  uint8_t* codes = nullptr;
  size_t codes_stride = 0;
  uint16_t* scales = nullptr;
  uint16_t* offsets = nullptr;  // may be null for 8 bits
  size_t params_stride = 0;
  RunSums* sums = nullptr;  // null: not measured
  size_t sums_stride = 0;
};

struct Range {
  float abs_max = 0;
  // The smallest scale > 0 of a group by minimum and maximum, before rounding. A constant group
  // that is not zero counts as if it reached from zero to its value.
  float min_scale = std::numeric_limits<float>::infinity();
  bool finite = true;  // else the other two are unspecified
};

// Quantizes every group of the table. Range::finite is always true: a weight that is not finite
// shows in the sums.
Range quantize_groups(const GroupTable& table, const Coding& coding);

// Only the range of every group; the table's outputs are not used.
Range scan_groups(const GroupTable& table, int bits);

// A row of packed codes.
struct CodedRow {
  const uint8_t* codes = nullptr;
  const uint16_t* scales = nullptr;
  const uint16_t* offsets = nullptr;
  size_t cols = 0;
  size_t group_size = 0;  // a multiple of 4, or ≥ cols
  int bits = 4;
  float tensor_scale = 1.0f;
};
// out[i] = tensor_scale · (scale · code + offset), rounded after each operation.
void dequantize_row(const CodedRow& row, float* out);

// A row of packed codes with parameters of full width.
struct ZeroPointRow {
  const uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const float* zero_points = nullptr;  // null: all are 0
  size_t cols = 0;
  size_t group_size = 0;  // a multiple of 4, at most kMaxGroupSize
  int bits = 4;
};
// out[i] = scale · (code − zero_point), rounded after each operation.
void dequantize_row(const ZeroPointRow& row, float* out);

// Codes, one a byte, to packed codes and back. `codes` has room for `count` rounded up to 64.
void pack_codes(const uint8_t* codes, size_t count, int bits, uint8_t* packed);
void unpack_codes(const uint8_t* packed, size_t count, int bits, uint8_t* codes);

// out[i] = data[i] · factor. dtype: a quantizable type; a double is first rounded to float.
void widen(const void* data, DType dtype, size_t count, float factor, float* out);
// Rounds to nearest even. dtype: F32, F16 or BF16.
void narrow(const float* data, size_t count, DType dtype, void* out);

struct CompareSums {
  double dot = 0;
  double original_sq = 0;
  double restored_sq = 0;
  double error_sq = 0;
  double max_abs_error = 0;
};
// Sums over x against y in 8 partial sums by index.
CompareSums compare(const float* x, const float* y, size_t count);

// The values scale · code + offset, of the integers least ≤ code ≤ most.
struct UniformGrid {
  float scale = 1;  // > 0
  float offset = 0;
  float least = 0;  // both within ±2^22
  float most = 15;
};
// out[i] = scale · code + offset, code the nearest to (x[i] − offset) / scale, halves to even; each
// operation is rounded. x is finite; out may be x.
void grid_values(const float* x, size_t count, const UniformGrid& grid, float* out);
// The same − x[i].
void grid_errors(const float* x, size_t count, const UniformGrid& grid, float* out);

// The name of the instruction set in use.
const char* active_target();

}  // namespace arrow_quant::kernels
