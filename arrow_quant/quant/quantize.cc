#include "arrow_quant/quant/quantize.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/quant/row_chunks.h"

namespace arrow_quant {
namespace {

// Plain rounding runs at the speed of memory, so its floats stay in the first-level cache; a
// search has enough to do to live off the second, and wastes fewer lanes on larger chunks.
constexpr size_t kRtnChunk = 4096;
constexpr size_t kSearchChunk = 32768;

kernels::ErrorNorm error_norm(double p) {
  if (p == 2.0) return kernels::ErrorNorm::P2;
  if (p == 2.5) return kernels::ErrorNorm::P2_5;
  if (p == 4.0) return kernels::ErrorNorm::P4;
  return kernels::ErrorNorm::P3;
}

size_t runs_of(size_t groups) {
  return (groups + kernels::kRunGroups - 1) / kernels::kRunGroups;
}

// The full groups of a chunk, and the shorter ones at the ends of its rows.
struct ChunkTables {
  kernels::GroupTable full;
  kernels::GroupTable tail;
};

ChunkTables tables_of(const RowChunk& chunk, size_t group_size) {
  ChunkTables tables;
  tables.full.x = chunk.x;
  tables.full.dtype = chunk.dtype;
  tables.full.x_stride = chunk.stride;
  tables.full.rows = chunk.rows;
  tables.full.groups_per_row = chunk.cols / group_size;
  tables.full.group_step = group_size;
  tables.full.group_size = group_size;
  tables.tail = tables.full;
  tables.tail.x = element_address(chunk, 0, tables.full.groups_per_row * group_size);
  tables.tail.groups_per_row = 1;
  tables.tail.group_size = chunk.cols % group_size;
  return tables;
}

template <class Call>
kernels::Range call_on_groups(const ChunkTables& tables, Call call) {
  kernels::Range range;
  for (const kernels::GroupTable* table : {&tables.full, &tables.tail}) {
    if (table->groups_per_row == 0 || table->group_size == 0) continue;
    const kernels::Range part = call(*table);
    range.abs_max = std::max(range.abs_max, part.abs_max);
    range.min_scale = std::min(range.min_scale, part.min_scale);
    range.finite = range.finite && part.finite;
  }
  return range;
}

double value_at(const RowsView& source, size_t row, size_t col) {
  const uint8_t* at = element_address(source, row, col);
  if (source.dtype == DType::F64) {
    double value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  float value;
  kernels::widen(at, source.dtype, 1, 1.0f, &value);
  return value;
}

// Range of the finite weights of a group, 0 … 0 if there are none.
void add_finite_range(std::span<const float> group, int bits, kernels::Range& range) {
  float lo = std::numeric_limits<float>::infinity();
  float hi = -lo;
  for (const float x : group) {
    if (!std::isfinite(x)) continue;
    lo = std::min(lo, x);
    hi = std::max(hi, x);
  }
  if (lo > hi) return;
  const float abs_max = std::max(std::abs(lo), std::abs(hi));
  const float width = bits == 8 || lo == hi ? abs_max : hi - lo;
  const float scale = width / (bits == 8 ? 127.0f : static_cast<float>((1 << bits) - 1));
  range.abs_max = std::max(range.abs_max, abs_max);
  if (scale > 0) range.min_scale = std::min(range.min_scale, scale);
}

// For a chunk in which a kernel met something that is not finite: names the first such weight, and
// returns the range of the others.
kernels::Range range_despite_non_finite(const RowsView& source, const RowChunk& chunk, int bits,
                                        size_t group_size, RangeStats& found) {
  kernels::Range range;
  std::vector<float> floats(chunk.cols);
  for (size_t r = 0; r < chunk.rows; ++r) {
    kernels::widen(element_address(chunk, r, 0), chunk.dtype, chunk.cols, 1.0f, floats.data());
    const std::span<const float> row(floats);
    for (size_t start = 0; start < chunk.cols; start += group_size) {
      add_finite_range(row.subspan(start, std::min(group_size, chunk.cols - start)), bits, range);
    }
    for (size_t c = 0; c < chunk.cols && !found.non_finite; ++c) {
      if (std::isfinite(row[c])) continue;
      const size_t index = (chunk.row + r) * source.cols + chunk.col + c;
      found.non_finite =
          RangeStats::NonFinite{index, value_at(source, chunk.row + r, chunk.col + c)};
    }
  }
  return range;
}

void add_range(const kernels::Range& range, float tensor_scale, RangeStats& stats) {
  stats.abs_max = std::max(stats.abs_max, tensor_scale * range.abs_max);
  stats.min_scale = std::min(stats.min_scale, tensor_scale * range.min_scale);
}

// Adds the sums of the runs in order; returns whether all weights were finite.
bool add_sums(std::span<const kernels::RunSums> runs, float tensor_scale, ErrorStats& error) {
  const double scale = tensor_scale;
  const double scale_sq = scale * scale;
  bool finite = true;
  float max_error = 0;
  for (const kernels::RunSums& run : runs) {
    const double original_sq = run.original_sq;
    const double original_error = run.original_error;
    const double error_sq = run.error_sq;
    error.original_sq += scale_sq * original_sq;
    error.dot += scale_sq * (original_sq - original_error);
    error.restored_sq += scale_sq * (original_sq - 2.0 * original_error + error_sq);
    error.error_sq += scale_sq * error_sq;
    max_error = std::max(max_error, run.max_abs_error);
    finite = finite && run.original_sq <= std::numeric_limits<float>::max();
  }
  error.max_abs_error = std::max(error.max_abs_error, scale * static_cast<double>(max_error));
  return finite;
}

// Where a chunk's results go.
void set_outputs(const RowChunk& chunk, const QuantizeSpec& spec, const CodesOut& out,
                 kernels::RunSums* sums, size_t sums_stride, ChunkTables& tables) {
  const size_t first_param = chunk.row * out.params_stride + chunk.col / spec.group_size;
  const auto bits = static_cast<size_t>(bits_of(spec.bit_width));
  kernels::GroupTable& full = tables.full;
  full.codes = out.codes + chunk.row * out.codes_stride_bytes + chunk.col * bits / 8;
  full.codes_stride = out.codes_stride_bytes;
  full.scales = out.scales + first_param;
  full.offsets = spec.bit_width == BitWidth::Int8 ? nullptr : out.offsets + first_param;
  full.params_stride = out.params_stride;
  full.sums = sums;
  full.sums_stride = sums_stride;

  const size_t full_groups = full.groups_per_row;
  kernels::GroupTable tail = full;
  tail.x = tables.tail.x;
  tail.groups_per_row = 1;
  tail.group_size = tables.tail.group_size;
  tail.codes += full_groups * spec.group_size * bits / 8;
  tail.scales += full_groups;
  if (tail.offsets != nullptr) tail.offsets += full_groups;
  tail.sums += runs_of(full_groups);
  tables.tail = tail;
}

}  // namespace

std::string_view to_string(QuantMethod method) {
  return method == QuantMethod::Rtn ? "rtn" : "mse";
}

std::optional<QuantMethod> parse_quant_method(std::string_view name) {
  for (const QuantMethod method : {QuantMethod::Rtn, QuantMethod::Mse}) {
    if (name == to_string(method)) return method;
  }
  return std::nullopt;
}

void quantize_rows(const RowsView& source, const QuantizeSpec& spec, float tensor_scale,
                   const CodesOut& out, ErrorStats& error, RangeStats& range,
                   QuantizeScratch& scratch) {
  const bool search = spec.method == QuantMethod::Mse;
  const kernels::Coding coding = {bits_of(spec.bit_width), search, error_norm(spec.error_norm)};
  RangeStats found;
  for_each_chunk(
      source, ChunkTypes::Groups, search ? kSearchChunk : kRtnChunk, 1.0f / tensor_scale,
      scratch.floats, [&](const RowChunk& chunk) {
        ChunkTables tables = tables_of(chunk, spec.group_size);
        const size_t runs = runs_of(tables.full.groups_per_row) + (tables.tail.group_size != 0);
        scratch.work.reserve(chunk.rows * runs * sizeof(kernels::RunSums));
        const std::span<kernels::RunSums> sums(scratch.work.as<kernels::RunSums>().data(),
                                               chunk.rows * runs);
        set_outputs(chunk, spec, out, sums.data(), runs, tables);
        kernels::Range part = call_on_groups(tables, [&](const kernels::GroupTable& table) {
          return kernels::quantize_groups(table, coding);
        });
        if (!add_sums(sums, tensor_scale, error)) {
          part = range_despite_non_finite(source, chunk, coding.bits, spec.group_size, found);
        }
        add_range(part, tensor_scale, found);
      });
  range.merge(found, 0);
}

RangeStats scan_rows(const RowsView& source, BitWidth width, size_t group_size,
                     QuantizeScratch& scratch) {
  RangeStats found;
  const auto visit = [&](const RowChunk& chunk) {
    kernels::Range part = call_on_groups(
        tables_of(chunk, group_size),
        [&](const kernels::GroupTable& table) { return scan_groups(table, bits_of(width)); });
    if (!part.finite) {
      part = range_despite_non_finite(source, chunk, bits_of(width), group_size, found);
    }
    add_range(part, 1.0f, found);
  };
  for_each_chunk(source, ChunkTypes::Groups, kRtnChunk, 1.0f, scratch.floats, visit);
  return found;
}

void widen_to_f32(const void* data, DType dtype, size_t count, float* out) {
  kernels::widen(data, dtype, count, 1.0f, out);
}

void narrow_from_f32(const float* data, size_t count, DType dtype, void* out) {
  kernels::narrow(data, count, dtype, out);
}

}  // namespace arrow_quant
