// Loops over panels (panels.h).
#if defined(ARROW_QUANT_KERNELS_PANELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ARROW_QUANT_KERNELS_PANELS_INL_H_
#undef ARROW_QUANT_KERNELS_PANELS_INL_H_
#else
#define ARROW_QUANT_KERNELS_PANELS_INL_H_
#endif

#include <limits>

#include "arrow_quant/kernels/lanes-inl.h"
#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/kernels/search_plan.h"

HWY_BEFORE_NAMESPACE();
namespace arrow_quant::kernels {
namespace HWY_NAMESPACE {

inline constexpr size_t kTileRows = 4;
inline constexpr size_t kTileVectors = kLanes == 16 ? 4 : 2;

// kRows rows by kVectors vectors of C, held in registers while k runs.
template <size_t kRows, size_t kVectors>
HWY_INLINE void multiply_tile(const Multiplication& m, size_t row, size_t col) {
  const DF df;
  VF sum[kRows][kVectors];
  float* c = m.c + row * m.c_stride + col;
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (size_t v = 0; v < kVectors; ++v) {
      sum[r][v] = hn::LoadU(df, c + r * m.c_stride + v * kLanes);
    }
  }
  const float* a = m.a + row * m.a_row_stride;
  const float* b = m.b + col;
  for (size_t k = 0; k < m.depth; ++k) {
    VF right[kVectors];
    HWY_UNROLL(4) for (size_t v = 0; v < kVectors; ++v) {
      right[v] = hn::LoadU(df, b + v * kLanes);
    }
    HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
      const VF left = hn::Set(df, a[r * m.a_row_stride]);
      HWY_UNROLL(4) for (size_t v = 0; v < kVectors; ++v) {
        sum[r][v] = hn::Add(sum[r][v], hn::Mul(left, right[v]));
      }
    }
    a += m.a_col_stride;
    b += m.b_stride;
  }
  HWY_UNROLL(4) for (size_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[r][v], df, c + r * m.c_stride + v * kLanes);
    }
  }
}

// Columns that do not fill a vector.
HWY_INLINE void multiply_rest(const Multiplication& m, size_t row, size_t rows, size_t col) {
  for (size_t r = row; r < row + rows; ++r) {
    for (size_t j = col; j < m.cols; ++j) {
      float sum = m.c[r * m.c_stride + j];
      for (size_t k = 0; k < m.depth; ++k) {
        sum += m.a[r * m.a_row_stride + k * m.a_col_stride] * m.b[k * m.b_stride + j];
      }
      m.c[r * m.c_stride + j] = sum;
    }
  }
}

template <size_t kRows>
HWY_INLINE void multiply_rows(const Multiplication& m, size_t row) {
  size_t col = 0;
  for (; col + kTileVectors * kLanes <= m.cols; col += kTileVectors * kLanes) {
    multiply_tile<kRows, kTileVectors>(m, row, col);
  }
  for (; col + kLanes <= m.cols; col += kLanes) {
    multiply_tile<kRows, 1>(m, row, col);
  }
  if (col < m.cols) multiply_rest(m, row, kRows, col);
}

void MultiplyAdd(const Multiplication& m) {
  size_t row = 0;
  for (; row + kTileRows <= m.rows; row += kTileRows) multiply_rows<kTileRows>(m, row);
  for (; row < m.rows; ++row) multiply_rows<1>(m, row);
}

// The code nearest to a target; the weight that it stands for.
HWY_INLINE VF nearest_weight(VF target, VF scale, VF inverse, VF offset, VF highest, VF& code) {
  const VF t = hn::Mul(hn::Sub(target, offset), inverse);
  code = hn::Round(hn::Min(hn::Max(t, hn::Zero(DF())), highest));
  return hn::Add(hn::Mul(scale, code), offset);
}

HWY_INLINE void store_codes(VF code, uint8_t* out) {
  const DI di;
  const hn::Rebind<uint8_t, DF> du8;
  hn::StoreU(hn::DemoteTo(du8, hn::ConvertTo(di, code)), du8, out);
}

void SweepColumns(const Sweep& s) {
  const DF df;
  const VF highest = hn::Set(df, static_cast<float>((1 << s.bits) - 1));
  const VF one = hn::Set(df, 1.0f);
  for (size_t c = s.cols; c-- > 0;) {
    const float* scales = s.scales + s.group[c] * kPanelRows;
    const float* offsets = s.offsets + s.group[c] * kPanelRows;
    for (size_t lane = 0; lane < kPanelRows; lane += kLanes) {
      const size_t at = c * kPanelRows + lane;
      const VF w = hn::LoadU(df, s.w + at);
      VF target = w;
      if (s.l != nullptr) {
        const VF carried = hn::LoadU(df, s.carried + at);
        target = hn::Add(w, hn::Mul(carried, hn::Set(df, s.inverse_diagonal[c])));
      }
      const VF scale = hn::LoadU(df, scales + lane);
      const VF offset = hn::LoadU(df, offsets + lane);
      VF code;
      const VF restored = nearest_weight(target, scale, hn::Div(one, scale), offset, highest, code);
      const VF error = hn::Sub(w, restored);
      hn::StoreU(error, df, s.error + at);
      store_codes(code, s.codes + at);
      if (s.l == nullptr) continue;
      const float* l = s.l + c * s.l_stride;
      for (size_t j = 0; j < c; ++j) {
        float* to = s.carried + j * kPanelRows + lane;
        hn::StoreU(hn::Add(hn::LoadU(df, to), hn::Mul(error, hn::Set(df, l[j]))), df, to);
      }
    }
  }
}

// Scale and offset of the groups in the lanes of a vector; both are fp16 values.
struct Grid {
  VF scale;
  VF offset;
};

// The weighted loss of a grid, and the least squares solution for its codes, in which each error
// counts with its own size once more.
struct FitRound {
  VF loss;
  Grid next;
};

HWY_INLINE FitRound fit_round(const WeightedFit& fit, size_t lane, const Grid& p) {
  const DF df;
  const VF zero = hn::Zero(df);
  const VF highest = hn::Set(df, static_cast<float>((1 << fit.bits) - 1));
  const VF inverse = hn::Div(hn::Set(df, 1.0f), p.scale);
  VF loss = zero, qq = zero, q1 = zero, total = zero, dq = zero, d1 = zero;
  for (size_t c = 0; c < fit.cols; ++c) {
    const VF w = hn::LoadU(df, fit.w + c * kPanelRows + lane);
    const VF importance = hn::Set(df, fit.importance[c]);
    VF code;
    const VF d = hn::Sub(w, nearest_weight(w, p.scale, inverse, p.offset, highest, code));
    const VF weight = hn::Mul(importance, hn::Abs(d));
    const VF weighted = hn::Mul(weight, d);
    loss = hn::Add(loss, hn::Mul(weighted, d));
    dq = hn::Add(dq, hn::Mul(weighted, code));
    d1 = hn::Add(d1, weighted);
    const VF wq = hn::Mul(weight, code);
    qq = hn::Add(qq, hn::Mul(wq, code));
    q1 = hn::Add(q1, wq);
    total = hn::Add(total, weight);
  }
  const VF squares = hn::Mul(qq, total);
  const VF determinant = hn::Sub(squares, hn::Mul(q1, q1));
  const auto solvable = hn::Gt(determinant, hn::Mul(squares, hn::Set(df, kSingular)));
  const VF a = hn::Div(hn::Sub(hn::Mul(dq, total), hn::Mul(q1, d1)), determinant);
  const VF b = hn::Div(hn::Sub(hn::Mul(qq, d1), hn::Mul(q1, dq)), determinant);
  const VF scale = hn::Add(p.scale, a);
  const VF offset = hn::Add(p.offset, b);
  // A comparison is false for NaN: a fit without a solution changes nothing.
  const auto valid = hn::And(solvable, hn::And(hn::Gt(scale, zero), hn::Eq(offset, offset)));
  return {loss,
          {hn::IfThenElse(valid, round_scale(scale), p.scale),
           hn::IfThenElse(valid, round_offset(offset), p.offset)}};
}

inline constexpr int kFitRounds = 3;

// Rounds from one start; keeps the best that was judged.
HWY_INLINE void fit_from(const WeightedFit& fit, size_t lane, Grid p, VF& best_loss, Grid& best) {
  for (int round = 0; round <= kFitRounds; ++round) {
    const FitRound sums = fit_round(fit, lane, p);
    const auto better = hn::Lt(sums.loss, best_loss);
    best_loss = hn::IfThenElse(better, sums.loss, best_loss);
    best.scale = hn::IfThenElse(better, p.scale, best.scale);
    best.offset = hn::IfThenElse(better, p.offset, best.offset);
    p = sums.next;
  }
}

void FitWeighted(const WeightedFit& fit) {
  const DF df;
  const VF steps = hn::Set(df, static_cast<float>((1 << fit.bits) - 1));
  constexpr float kShrinks[] = {1.0f, 0.85f, 0.7f, 0.55f};
  for (size_t lane = 0; lane < kPanelRows; lane += kLanes) {
    Grid best = {hn::LoadU(df, fit.scales + lane), hn::LoadU(df, fit.offsets + lane)};
    VF best_loss = hn::Set(df, std::numeric_limits<float>::max());
    fit_from(fit, lane, best, best_loss, best);
    VF lo = hn::LoadU(df, fit.w + lane);
    VF hi = lo;
    for (size_t c = 1; c < fit.cols; ++c) {
      const VF w = hn::LoadU(df, fit.w + c * kPanelRows + lane);
      lo = hn::Min(lo, w);
      hi = hn::Max(hi, w);
    }
    const VF half = hn::Set(df, 0.5f);
    const VF middle = hn::Mul(hn::Add(lo, hi), half);
    for (const float shrink : kShrinks) {
      const VF width = hn::Mul(hn::Sub(hi, lo), hn::Set(df, shrink));
      const VF offset = hn::Sub(middle, hn::Mul(width, half));
      fit_from(fit, lane, {round_scale(hn::Div(width, steps)), round_offset(offset)}, best_loss,
               best);
    }
    hn::StoreU(best.scale, df, fit.scales + lane);
    hn::StoreU(best.offset, df, fit.offsets + lane);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace arrow_quant::kernels
HWY_AFTER_NAMESPACE();

#endif  // toggle
