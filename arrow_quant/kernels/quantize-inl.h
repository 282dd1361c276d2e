// Weights to packed codes and error sums, sixteen groups at a time; and back.
#if defined(ARROW_QUANT_KERNELS_QUANTIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_QUANTIZE_INL_H_
#undef ARROW_QUANT_KERNELS_QUANTIZE_INL_H_
#else
#define ARROW_QUANT_KERNELS_QUANTIZE_INL_H_
#endif

#include "arrow_quant/core/float16.h"
#include "arrow_quant/kernels/pack-inl.h"
#include "arrow_quant/kernels/search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

// Sixteen partial sums of each kind, by index in the group modulo 16.
struct PartialSums {
  VF original_sq[kParts];
  VF original_error[kParts];
  VF error_sq[kParts];
  VF max_abs_error[kParts];

  HWY_INLINE void clear() {
    const VF zero = hn::Zero(DF());
    for (size_t part = 0; part < kParts; ++part) {
      original_sq[part] = original_error[part] = error_sq[part] = max_abs_error[part] = zero;
    }
  }

  HWY_INLINE void add(size_t part, VF x, VF e) {
    original_sq[part] = hn::Add(original_sq[part], hn::Mul(x, x));
    original_error[part] = hn::Add(original_error[part], hn::Mul(x, e));
    error_sq[part] = hn::Add(error_sq[part], hn::Mul(e, e));
    max_abs_error[part] = hn::Max(max_abs_error[part], hn::Abs(e));
  }

  HWY_INLINE void store(RunSums* out) const {
    const D4 d4;
    V4 a = fold16<AddOp>(original_sq);
    V4 b = fold16<AddOp>(original_error);
    V4 c = fold16<AddOp>(error_sq);
    V4 m = fold16<MaxOp>(max_abs_error);
    transpose4(d4, a, b, c, m);
    const V4 sum = hn::Add(hn::Add(a, b), hn::Add(c, m));
    const V4 max = hn::Max(hn::Max(a, b), hn::Max(c, m));
    const V4 both = hn::IfThenElse(hn::FirstN(d4, 3), sum, max);
    hn::StoreU(both, d4, reinterpret_cast<float*>(out));
  }
};

// The sums of the run that is being quantized; runs go on from tile to tile.
class RunMeasure {
 public:
  HWY_INLINE explicit RunMeasure(const GroupTable& table) : table_(table) { sums_.clear(); }

  // Where the sums of a group go; stores those of the run before, if another begins.
  HWY_INLINE PartialSums& sums_for(size_t row, size_t group) {
    RunSums* run = table_.sums + row * table_.sums_stride + group / kRunGroups;
    if (run != run_) {
      finish();
      run_ = run;
      sums_.clear();
    }
    return sums_;
  }

  HWY_INLINE void finish() {
    if (run_ != nullptr) sums_.store(run_);
  }

 private:
  const GroupTable& table_;
  RunSums* run_ = nullptr;
  PartialSums sums_;
};

template <int kBits, bool kMeasure>
class GroupEncoder {
 public:
  HWY_INLINE GroupEncoder(float scale, float offset) {
    const DF df;
    scale_ = hn::Set(df, scale);
    inverse_ = hn::Div(hn::Set(df, 1.0f), scale_);
    offset_ = hn::Set(df, offset);
  }

  // Codes of n weights, one a byte; bytes up to the next multiple of 16 are zero.
  HWY_INLINE void run(const float* x, size_t n, uint8_t* codes, PartialSums& sums) {
    const DF df;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      // Those of the next tile: here, where there is the most to compute for each.
      hwy::Prefetch(reinterpret_cast<const uint8_t*>(x + i) + kPrefetchBytes);
      for (size_t part = 0; part < kParts; ++part) {
        const size_t at = i + part * kLanes;
        encode<false>(hn::LoadU(df, x + at), kLanes, part, codes + at, sums);
      }
    }
    if (i < n) {
      alignas(64) float rest[16] = {};
      memcpy(rest, x + i, (n - i) * sizeof(float));
      for (size_t part = 0; part < kParts; ++part) {
        const size_t lane = part * kLanes;
        const size_t valid = n - i > lane ? n - i - lane : 0;
        encode<true>(hn::Load(df, rest + lane), valid, part, codes + i + lane, sums);
      }
    }
  }

 private:
  template <bool kTail>
  HWY_INLINE void encode(VF x, size_t valid, size_t part, uint8_t* codes, PartialSums& sums) {
    const DF df;
    const DU du;
    const hn::Rebind<uint8_t, DF> du8;
    VF sum;
    const VF q = nearest_code<kBits>(x, inverse_, offset_, sum);
    auto integer = hn::BitCast(du, sum);
    if constexpr (kTail) {
      const auto low = hn::And(integer, hn::Set(du, 0xFFu));
      integer = hn::IfThenElseZero(hn::FirstN(du, valid), low);
    }
    hn::StoreU(hn::TruncateTo(du8, integer), du8, codes);
    if constexpr (kMeasure) {
      VF restored = hn::Mul(scale_, q);
      if constexpr (kBits != 8) restored = hn::Add(restored, offset_);
      VF error = hn::Sub(x, restored);
      if constexpr (kTail) error = hn::IfThenElseZero(hn::FirstN(df, valid), error);
      sums.add(part, x, error);
    }
  }

  VF scale_, inverse_, offset_;
};

HWY_INLINE void store_params(const Tile& tile, const GroupTable& table, const TileParams& params) {
  const DF df;
  uint16_t scales[kTile], offsets[kTile];
  for (size_t lane = 0; lane < kTile; lane += kLanes) {
    store_half(hn::Load(df, params.scale + lane), scales + lane);
    store_half(hn::Load(df, params.offset + lane), offsets + lane);
  }
  const size_t first = tile.row[0] * table.params_stride + tile.group[0];
  if (tile.count == kTile && tile.row[kTile - 1] == tile.row[0]) {
    memcpy(table.scales + first, scales, sizeof(scales));
    if (table.offsets != nullptr) memcpy(table.offsets + first, offsets, sizeof(offsets));
    return;
  }
  for (size_t lane = 0; lane < tile.count; ++lane) {
    const size_t at = tile.row[lane] * table.params_stride + tile.group[lane];
    table.scales[at] = scales[lane];
    if (table.offsets != nullptr) table.offsets[at] = offsets[lane];
  }
}

template <int kBits, bool kMeasure>
HWY_INLINE void encode_tile(const Tile& tile, const GroupTable& table, const TileParams& params,
                            RunMeasure& measure) {
  // Packing starts when all codes are written: loads right behind narrower stores would wait.
  alignas(64) uint8_t codes[kTile][kMaxGroupSize];
  for (size_t lane = 0; lane < tile.count; ++lane) {
    // In registers for the length of a group.
    PartialSums sums;
    if constexpr (kMeasure) sums = measure.sums_for(tile.row[lane], tile.group[lane]);
    GroupEncoder<kBits, kMeasure>(params.scale[lane], params.offset[lane])
        .run(tile.x[lane], table.group_size, codes[lane], sums);
    if constexpr (kMeasure) measure.sums_for(tile.row[lane], tile.group[lane]) = sums;
  }
  const size_t step_bytes = table.group_step * kBits / 8;
  for (size_t lane = 0; lane < tile.count; ++lane) {
    uint8_t* packed =
        table.codes + tile.row[lane] * table.codes_stride + tile.group[lane] * step_bytes;
    pack<kBits>(codes[lane], table.group_size, packed);
  }
}

template <int kBits>
HWY_INLINE void params_of_tile(const TileRange& range, TileParams& params) {
  const DF df;
  for (size_t lane = 0; lane < kTile; lane += kLanes) {
    const Params p =
        params_from_range<kBits>(hn::Load(df, range.lo + lane), hn::Load(df, range.hi + lane));
    hn::Store(p.scale, df, params.scale + lane);
    hn::Store(p.offset, df, params.offset + lane);
  }
}

template <int kBits, bool kMeasure>
HWY_INLINE Range quantize_table(const GroupTable& table, const Coding& coding) {
  RangeLanes total;
  RunMeasure measure(table);
  TileCursor cursor(table);
  Tile tile;
  while (cursor.next(tile)) {
    TileRange range;
    TileParams params;
    range_of_tile<false>(tile, table.group_size, range, total);
    if (coding.search) {
      search_tile_for<kBits>(coding.norm, tile, table.group_size, range, params);
    } else {
      params_of_tile<kBits>(range, params);
    }
    total.add<kBits>(range);
    store_params(tile, table, params);
    encode_tile<kBits, kMeasure>(tile, table, params, measure);
  }
  if constexpr (kMeasure) measure.finish();
  return total.get();
}

template <int kBits>
HWY_INLINE Range quantize_bits(const GroupTable& table, const Coding& coding) {
  return table.sums != nullptr ? quantize_table<kBits, true>(table, coding)
                               : quantize_table<kBits, false>(table, coding);
}

Range QuantizeGroups(const GroupTable& table, const Coding& coding) {
  if (coding.bits == 2) return quantize_bits<2>(table, coding);
  if (coding.bits == 4) return quantize_bits<4>(table, coding);
  return quantize_bits<8>(table, coding);
}

template <int kBits>
HWY_INLINE Range scan_table(const GroupTable& table) {
  RangeLanes total;
  TileCursor cursor(table);
  Tile tile;
  while (cursor.next(tile)) {
    TileRange range;
    range_of_tile<true>(tile, table.group_size, range, total);
    total.add<kBits>(range);
  }
  return total.get();
}

Range ScanGroups(const GroupTable& table, int bits) {
  if (bits == 2) return scan_table<2>(table);
  if (bits == 4) return scan_table<4>(table);
  return scan_table<8>(table);
}

// What a code of one group stands for.
template <int kBits>
struct HalfRestorer {
  HWY_INLINE HalfRestorer(const CodedRow& row, size_t group)
      : scale(hn::Set(DF(), half_to_float(row.scales[group]))),
        offset(kBits == 8 ? hn::Zero(DF()) : hn::Set(DF(), half_to_float(row.offsets[group]))),
        tensor_scale(hn::Set(DF(), row.tensor_scale)) {}
  HWY_INLINE VF restore(VF code) const {
    VF y = hn::Mul(scale, code);
    if constexpr (kBits != 8) y = hn::Add(y, offset);
    return hn::Mul(tensor_scale, y);
  }
  VF scale, offset, tensor_scale;
};

template <int kBits>
struct ZeroPointRestorer {
  HWY_INLINE ZeroPointRestorer(const ZeroPointRow& row, size_t group)
      : scale(hn::Set(DF(), row.scales[group])),
        zero_point(hn::Set(DF(), row.zero_points == nullptr ? 0.0f : row.zero_points[group])) {}
  HWY_INLINE VF restore(VF code) const { return hn::Mul(scale, hn::Sub(code, zero_point)); }
  VF scale, zero_point;
};

template <int kBits, template <int> class Restorer, class Row>
HWY_INLINE void dequantize_bits(const Row& row, float* out) {
  const DF df;
  const DI di;
  const hn::Rebind<uint8_t, DF> du8;
  const hn::Rebind<int8_t, DF> di8;
  alignas(64) uint8_t codes[kMaxGroupSize];
  for (size_t start = 0, group = 0; start < row.cols; start += row.group_size, ++group) {
    const size_t n = HWY_MIN(row.group_size, row.cols - start);
    unpack<kBits>(row.codes + start * kBits / 8, n, codes);
    const Restorer<kBits> restorer(row, group);
    for (size_t i = 0; i < n; i += kLanes) {
      hn::Vec<DI> code;
      if constexpr (kBits == 8) {
        code = hn::PromoteTo(di, hn::LoadU(di8, reinterpret_cast<const int8_t*>(codes) + i));
      } else {
        code = hn::PromoteTo(di, hn::LoadU(du8, codes + i));
      }
      const VF y = restorer.restore(hn::ConvertTo(df, code));
      if (i + kLanes <= n) {
        hn::StoreU(y, df, out + start + i);
      } else {
        alignas(64) float rest[kLanes];
        hn::Store(y, df, rest);
        memcpy(out + start + i, rest, (n - i) * sizeof(float));
      }
    }
  }
}

template <template <int> class Restorer, class Row>
HWY_INLINE void dequantize_as(const Row& row, float* out) {
  if (row.bits == 2) return dequantize_bits<2, Restorer>(row, out);
  if (row.bits == 4) return dequantize_bits<4, Restorer>(row, out);
  return dequantize_bits<8, Restorer>(row, out);
}

void DequantizeRow(const CodedRow& row, float* out) {
  dequantize_as<HalfRestorer>(row, out);
}

void DequantizeZeroPointRow(const ZeroPointRow& row, float* out) {
  dequantize_as<ZeroPointRestorer>(row, out);
}

void PackCodes(const uint8_t* codes, size_t count, int bits, uint8_t* packed) {
  if (bits == 2) return pack<2>(codes, count, packed);
  if (bits == 4) return pack<4>(codes, count, packed);
  return pack<8>(codes, count, packed);
}

void UnpackCodes(const uint8_t* packed, size_t count, int bits, uint8_t* codes) {
  if (bits == 2) return unpack<2>(packed, count, codes);
  if (bits == 4) return unpack<4>(packed, count, codes);
  return unpack<8>(packed, count, codes);
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
