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

// Sixteen partial sums of each kind, by the place of a pair of neighbours in the group modulo 16.
struct PartialSums {
  VF original_sq[kParts];
  VF original_error[kParts];
  VF error_sq[kParts];
  VF max_error_sq[kParts];

  HWY_INLINE void clear() {
    const VF zero = hn::Zero(DF());
    for (size_t part = 0; part < kParts; ++part) {
      original_sq[part] = original_error[part] = error_sq[part] = max_error_sq[part] = zero;
    }
  }

  // kShort: x has at most 12 significant bits, so that its square is exact and may be added in the
  // same operation. (Not below 2^-63, where squares are too small to show in any sum.)
  template <bool kShort>
  HWY_INLINE void add(size_t part, VF x, VF e) {
    const VF square = hn::Mul(e, e);
    original_sq[part] =
        kShort ? hn::MulAdd(x, x, original_sq[part]) : hn::Add(original_sq[part], hn::Mul(x, x));
    original_error[part] = hn::Add(original_error[part], hn::Mul(x, e));
    error_sq[part] = hn::Add(error_sq[part], square);
    max_error_sq[part] = hn::Max(max_error_sq[part], square);
  }

  HWY_INLINE void store(RunSums* out) const {
    const D4 d4;
    V4 a = fold16<AddOp>(original_sq);
    V4 b = fold16<AddOp>(original_error);
    V4 c = fold16<AddOp>(error_sq);
    V4 m = fold16<MaxOp>(max_error_sq);
    transpose4(d4, a, b, c, m);
    const V4 sum = hn::Add(hn::Add(a, b), hn::Add(c, m));
    // The root of a rounded square is the number, unless the square is too small for a float.
    const V4 max = hn::Sqrt(hn::Max(hn::Max(a, b), hn::Max(c, m)));
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

// scale · code + offset. The product of an fp16 and a code is exact as a float, so that adding the
// offset in the same operation, where the machine can, changes nothing.
template <int kBits>
HWY_INLINE VF restored_code(VF scale, VF code, VF offset) {
  if constexpr (kBits == 8) return hn::Mul(scale, code);
  return hn::MulAdd(scale, code, offset);
}

// Codes of one group. kClamp: some weights may lie outside the grid by half a step or more.
template <int kBits, bool kMeasure, bool kClamp>
class GroupEncoder {
 public:
  HWY_INLINE GroupEncoder(float scale, float offset) {
    const DF df;
    scale_ = hn::Set(df, scale);
    inverse_ = hn::Div(hn::Set(df, 1.0f), scale_);
    offset_ = hn::Set(df, offset);
  }

  template <class From>
  HWY_INLINE void run(const typename From::Element* x, size_t n, uint8_t* packed,
                      PartialSums& sums) const {
    size_t i = 0;
    for (; i + kStripe <= n; i += kStripe) {
      // Those of the next tile: here, where there is the most to compute for each.
      prefetch_stripe(x + i);
      encode<From, false>(x + i, kStripe, packed + i * kBits / 8, sums);
    }
    if (i < n) {
      alignas(64) float rest[kStripe];
      uint8_t bytes[kStripe];
      last_stripe<From>(x + i, n - i, 0.0f, rest);
      encode<FromF32, true>(rest, n - i, bytes, sums);
      memcpy(packed + i * kBits / 8, bytes, ((n - i) * kBits + 7) / 8);
    }
  }

 private:
  using VU = hn::Vec<DU>;

  template <class From, bool kTail>
  HWY_INLINE void encode(const typename From::Element* x, size_t valid, uint8_t* packed,
                         PartialSums& sums) const {
    const DU du;
    constexpr size_t kWeights = 2 * kLanes;  // of a part
    for (size_t part = 0; part < kParts; ++part) {
      VF even, odd;
      load_pairs<From>(x + part * kWeights, even, odd);
      const VF even_code = rounded(even), odd_code = rounded(odd);
      VU even_bits = hn::BitCast(du, even_code), odd_bits = hn::BitCast(du, odd_code);
      const size_t rest = valid > part * kWeights ? valid - part * kWeights : 0;
      if constexpr (kTail) {
        even_bits = hn::IfThenElseZero(hn::FirstN(du, (rest + 1) / 2), even_bits);
        odd_bits = hn::IfThenElseZero(hn::FirstN(du, rest / 2), odd_bits);
      }
      store_codes(even_bits, odd_bits, packed + part * kWeights * kBits / 8);
      if constexpr (kMeasure) {
        measure<From, kTail>(part, even, even_code, (rest + 1) / 2, sums);
        measure<From, kTail>(part, odd, odd_code, rest / 2, sums);
      }
    }
  }

  // kRounder + the code nearest to x; the code is in the low bits.
  HWY_INLINE VF rounded(VF x) const {
    const DF df;
    VF t = hn::Mul(kBits == 8 ? x : hn::Sub(x, offset_), inverse_);
    if constexpr (kClamp && kBits == 8) {
      t = hn::Min(hn::Max(t, hn::Set(df, -127.0f)), hn::Set(df, 127.0f));
    } else if constexpr (kClamp) {
      // As integers, positive floats keep their order and negative ones are negative; integer units
      // have time that float adders have not.
      const DI di;
      const auto highest = hn::BitCast(di, hn::Set(df, static_cast<float>((1 << kBits) - 1)));
      t = hn::BitCast(df, hn::Min(hn::Max(hn::BitCast(di, t), hn::Zero(di)), highest));
    }
    return hn::Add(t, hn::Set(df, kRounder));
  }

  // The low kBits of each.
  HWY_INLINE void store_codes(VU even, VU odd, uint8_t* packed) const {
    const DU du;
    if constexpr (kBits == 8) {
      const auto low = hn::And(even, hn::Set(du, 0xFFu));
      const hn::Rebind<uint16_t, DU> d_pairs;
      const hn::Repartition<uint8_t, decltype(d_pairs)> d_out;
      const auto pairs = hn::TruncateTo(d_pairs, hn::Or(low, hn::ShiftLeft<8>(odd)));
      hn::StoreU(hn::BitCast(d_out, pairs), d_out, packed);
    } else if constexpr (kBits == 4) {
      const hn::Rebind<uint8_t, DU> d_out;
      hn::StoreU(hn::TruncateTo(d_out, hn::Or(even, hn::ShiftLeft<4>(odd))), d_out, packed);
    } else {
      const hn::Repartition<uint64_t, DU> d_two;
      const hn::Rebind<uint8_t, decltype(d_two)> d_out;
      const auto pair = hn::And(hn::Or(even, hn::ShiftLeft<2>(odd)), hn::Set(du, 0xFu));
      const auto two = hn::BitCast(d_two, pair);
      hn::StoreU(hn::TruncateTo(d_out, hn::Or(two, hn::ShiftRight<28>(two))), d_out, packed);
    }
  }

  template <class From, bool kTail>
  HWY_INLINE void measure(size_t part, VF x, VF rounded_code, size_t valid,
                          PartialSums& sums) const {
    const DF df;
    const VF restored =
        restored_code<kBits>(scale_, hn::Sub(rounded_code, hn::Set(df, kRounder)), offset_);
    VF error = hn::Sub(x, restored);
    if constexpr (kTail) error = hn::IfThenElseZero(hn::FirstN(df, valid), error);
    sums.add<sizeof(typename From::Element) == 2>(part, x, error);
  }

  VF scale_, inverse_, offset_;
};

// Whether all weights of the tile lie on the grids, or less than half a step outside.
template <int kBits>
HWY_INLINE bool is_inside(const TileRange& range, const TileParams& params) {
  const DF df;
  auto inside = hn::FirstN(df, kLanes);
  for (size_t lane = 0; lane < kTile; lane += kLanes) {
    const VF scale = hn::Load(df, params.scale + lane);
    const VF offset = hn::Load(df, params.offset + lane);
    const float lowest = kBits == 8 ? -127.0f : 0.0f;
    const float highest = kBits == 8 ? 127.0f : static_cast<float>((1 << kBits) - 1);
    const VF below = hn::Mul(scale, hn::Set(df, lowest - 0.25f));
    const VF above = hn::Mul(scale, hn::Set(df, highest + 0.25f));
    const VF lo = hn::Sub(hn::Load(df, range.lo + lane), offset);
    const VF hi = hn::Sub(hn::Load(df, range.hi + lane), offset);
    inside = hn::And(inside, hn::And(hn::Ge(lo, below), hn::Le(hi, above)));
  }
  return hn::AllTrue(df, inside);
}

template <class T>
HWY_INLINE void store_params(const Tile<T>& tile, const GroupTable& table,
                             const TileParams& params) {
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

template <class From, int kBits, bool kMeasure, bool kClamp>
HWY_INLINE void encode_tile(const Tile<typename From::Element>& tile, const GroupTable& table,
                            const TileParams& params, RunMeasure& measure) {
  const size_t step_bytes = table.group_step * kBits / 8;
  for (size_t lane = 0; lane < tile.count; ++lane) {
    uint8_t* packed =
        table.codes + tile.row[lane] * table.codes_stride + tile.group[lane] * step_bytes;
    // In registers for the length of a group.
    PartialSums sums;
    if constexpr (kMeasure) sums = measure.sums_for(tile.row[lane], tile.group[lane]);
    GroupEncoder<kBits, kMeasure, kClamp>(params.scale[lane], params.offset[lane])
        .template run<From>(tile.x[lane], table.group_size, packed, sums);
    if constexpr (kMeasure) measure.sums_for(tile.row[lane], tile.group[lane]) = sums;
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

template <class From, int kBits, bool kMeasure>
HWY_NOINLINE Range quantize_table(const GroupTable& table, const Coding& coding) {
  RangeLanes total;
  RunMeasure measure(table);
  TileCursor<typename From::Element> cursor(table);
  Tile<typename From::Element> tile;
  while (cursor.next(tile)) {
    TileRange range;
    TileParams params;
    range_of_tile<From, false>(tile, table.group_size, range, total);
    if (coding.search) {
      search_tile<From, kBits>(coding.norm, tile, table.group_size, range, params);
    } else {
      params_of_tile<kBits>(range, params);
    }
    total.add<kBits>(range);
    store_params(tile, table, params);
    if (is_inside<kBits>(range, params)) {
      encode_tile<From, kBits, kMeasure, false>(tile, table, params, measure);
    } else {
      encode_tile<From, kBits, kMeasure, true>(tile, table, params, measure);
    }
  }
  if constexpr (kMeasure) measure.finish();
  return total.get();
}

template <class From, int kBits>
HWY_INLINE Range quantize_from(const GroupTable& table, const Coding& coding) {
  return table.sums != nullptr ? quantize_table<From, kBits, true>(table, coding)
                               : quantize_table<From, kBits, false>(table, coding);
}

template <int kBits>
HWY_INLINE Range quantize_bits(const GroupTable& table, const Coding& coding) {
  if (table.dtype == DType::BF16) return quantize_from<FromBF16, kBits>(table, coding);
  if (table.dtype == DType::F16) return quantize_from<FromF16, kBits>(table, coding);
  return quantize_from<FromF32, kBits>(table, coding);
}

Range QuantizeGroups(const GroupTable& table, const Coding& coding) {
  if (coding.bits == 2) return quantize_bits<2>(table, coding);
  if (coding.bits == 4) return quantize_bits<4>(table, coding);
  return quantize_bits<8>(table, coding);
}

template <class From, int kBits>
HWY_INLINE Range scan_table(const GroupTable& table) {
  RangeLanes total;
  TileCursor<typename From::Element> cursor(table);
  Tile<typename From::Element> tile;
  while (cursor.next(tile)) {
    TileRange range;
    range_of_tile<From, true>(tile, table.group_size, range, total);
    total.add<kBits>(range);
  }
  return total.get();
}

template <int kBits>
HWY_INLINE Range scan_bits(const GroupTable& table) {
  if (table.dtype == DType::BF16) return scan_table<FromBF16, kBits>(table);
  if (table.dtype == DType::F16) return scan_table<FromF16, kBits>(table);
  return scan_table<FromF32, kBits>(table);
}

Range ScanGroups(const GroupTable& table, int bits) {
  if (bits == 2) return scan_bits<2>(table);
  if (bits == 4) return scan_bits<4>(table);
  return scan_bits<8>(table);
}

// What a code of one group stands for.
template <int kBits>
struct HalfRestorer {
  HWY_INLINE HalfRestorer(const CodedRow& row, size_t group)
      : scale(hn::Set(DF(), half_to_float(row.scales[group]))),
        offset(kBits == 8 ? hn::Zero(DF()) : hn::Set(DF(), half_to_float(row.offsets[group]))),
        tensor_scale(hn::Set(DF(), row.tensor_scale)) {}
  HWY_INLINE VF restore(VF code) const {
    return hn::Mul(tensor_scale, restored_code<kBits>(scale, code, offset));
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
