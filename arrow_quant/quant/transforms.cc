#include "arrow_quant/quant/transforms.h"

#include <algorithm>
#include <cmath>

#include "arrow_quant/kernels/kernels.h"

namespace arrow_quant {
namespace {

constexpr Transform kTransforms[] = {Transform::Hadamard, Transform::LowRank,
                                     Transform::InputScale};
// Restored between two roundings to half precision.
constexpr size_t kPieceFloats = size_t{1} << 16;
// Columns of a low rank that are worked on together.
constexpr size_t kStripe = 256;

// Sums and differences of elements `stride` apart.
void butterfly(float* x, size_t count, size_t stride) {
  for (size_t begin = 0; begin < count; begin += 2 * stride) {
    float* const a = x + begin;
    float* const b = a + stride;
    for (size_t i = 0; i < stride; ++i) {
      const float sum = a[i] + b[i];
      b[i] = a[i] - b[i];
      a[i] = sum;
    }
  }
}

// The butterflies of strides 1, 2 and 4, in registers. The same operations as butterfly()'s.
void small_butterflies(float* x, size_t count) {
  for (size_t begin = 0; begin < count; begin += 8) {
    float* const y = x + begin;
    float a[8], b[8];
    for (size_t i = 0; i < 8; i += 2) {
      a[i] = y[i] + y[i + 1];
      a[i + 1] = y[i] - y[i + 1];
    }
    for (size_t i = 0; i < 8; i += 4) {
      b[i] = a[i] + a[i + 2];
      b[i + 1] = a[i + 1] + a[i + 3];
      b[i + 2] = a[i] - a[i + 2];
      b[i + 3] = a[i + 1] - a[i + 3];
    }
    for (size_t i = 0; i < 4; ++i) {
      y[i] = b[i] + b[i + 4];
      y[i + 4] = b[i] - b[i + 4];
    }
  }
}

// Adds the products of `count` ranks to sums, from the first to the last; rows of v are `stride`
// elements apart.
template <size_t count>
void add_products(const float* u, const float* v, size_t stride, size_t cols, float* sums) {
  for (size_t c = 0; c < cols; ++c) {
    float sum = sums[c];
    for (size_t k = 0; k < count; ++k) {
      sum += u[k] * v[k * stride + c];
    }
    sums[c] = sum;
  }
}

// x[c] ← x[c] + Σ over k of u[k] · v[k, c], for up to kStripe columns.
void add_low_rank_stripe(const float* u, const float* v, size_t stride, size_t cols, size_t rank,
                         float* x) {
  float sums[kStripe] = {};
  size_t k = 0;
  for (; k + 4 <= rank; k += 4) {
    add_products<4>(u + k, v + k * stride, stride, cols, sums);
  }
  for (; k < rank; ++k) {
    add_products<1>(u + k, v + k * stride, stride, cols, sums);
  }
  for (size_t c = 0; c < cols; ++c) {
    x[c] += sums[c];
  }
}

}  // namespace

std::string_view to_string(Transform transform) {
  switch (transform) {
    case Transform::Hadamard:
      return "hadamard";
    case Transform::LowRank:
      return "low_rank";
    case Transform::InputScale:
      return "input_scale";
  }
  return "";
}

std::optional<Transform> parse_transform(std::string_view name) {
  for (const Transform transform : kTransforms) {
    if (name == to_string(transform)) return transform;
  }
  return std::nullopt;
}

bool is_known_order(std::span<const Transform> order) {
  return std::adjacent_find(order.begin(), order.end(),
                            [](Transform a, Transform b) { return a >= b; }) == order.end();
}

TransformsView TransformsView::from_row(size_t row) const {
  TransformsView view = *this;
  if (view.low_rank_u != nullptr) view.low_rank_u += row * rank;
  return view;
}

void hadamard_rows(float* x, size_t rows, size_t cols, size_t block) {
  const size_t count = rows * cols;
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  // Block after block, so that all its butterflies find it in the cache.
  for (size_t begin = 0; begin < count; begin += block) {
    float* const y = x + begin;
    size_t stride = 1;
    if (block >= 8) {
      small_butterflies(y, block);
      stride = 8;
    }
    for (; stride < block; stride *= 2) {
      butterfly(y, block, stride);
    }
    for (size_t i = 0; i < block; ++i) {
      y[i] *= factor;
    }
  }
}

void multiply_columns(float* x, size_t rows, size_t cols, const float* factor) {
  for (size_t r = 0; r < rows; ++r) {
    float* const row = x + r * cols;
    for (size_t c = 0; c < cols; ++c) {
      row[c] *= factor[c];
    }
  }
}

void divide_columns(float* x, size_t rows, size_t cols, const float* divisor) {
  for (size_t r = 0; r < rows; ++r) {
    float* const row = x + r * cols;
    for (size_t c = 0; c < cols; ++c) {
      row[c] /= divisor[c];
    }
  }
}

void add_low_rank(float* x, size_t rows, size_t cols, const uint16_t* u, const uint16_t* v,
                  size_t rank, QuantizeScratch& scratch) {
  scratch.floats.reserve((rank * cols + rows * rank) * sizeof(float));
  float* const wide_v = scratch.floats.as<float>().data();
  float* const wide_u = wide_v + rank * cols;
  kernels::widen(v, DType::BF16, rank * cols, 1.0f, wide_v);
  kernels::widen(u, DType::BF16, rows * rank, 1.0f, wide_u);
  // Stripe after stripe, so that all rows find its part of V in the cache.
  for (size_t col = 0; col < cols; col += kStripe) {
    for (size_t r = 0; r < rows; ++r) {
      add_low_rank_stripe(wide_u + r * rank, wide_v + col, cols, std::min(kStripe, cols - col),
                          rank, x + r * cols + col);
    }
  }
}

void undo_transforms(float* x, size_t rows, size_t cols, const TransformsView& transforms,
                     QuantizeScratch& scratch) {
  for (const Transform transform : transforms.order) {
    switch (transform) {
      case Transform::Hadamard:
        hadamard_rows(x, rows, cols, transforms.hadamard_block);
        break;
      case Transform::LowRank:
        add_low_rank(x, rows, cols, transforms.low_rank_u, transforms.low_rank_v, transforms.rank,
                     scratch);
        break;
      case Transform::InputScale:
        divide_columns(x, rows, cols, transforms.input_scale);
        break;
    }
  }
}

void dequantize_rows(const CodesView& codes, const TransformsView& transforms, DType dtype,
                     void* out, QuantizeScratch& scratch) {
  if (transforms.order.empty()) {
    dequantize_rows(codes, dtype, out, scratch);
    return;
  }
  if (codes.rows == 0 || codes.cols == 0) return;
  const size_t element_bytes = static_cast<size_t>(bits_of(dtype)) / 8;
  // Large pieces where V has to be widened for each.
  const size_t piece_floats = std::max(kPieceFloats, 16 * transforms.rank * codes.cols);
  const size_t piece_rows = std::clamp<size_t>(piece_floats / codes.cols, 1, codes.rows);
  const bool in_place =
      dtype == DType::F32 && reinterpret_cast<uintptr_t>(out) % alignof(float) == 0;
  if (!in_place) scratch.work.reserve(piece_rows * codes.cols * sizeof(float));
  for (size_t row = 0; row < codes.rows; row += piece_rows) {
    CodesView piece = codes;
    piece.rows = std::min(piece_rows, codes.rows - row);
    piece.codes += row * codes.codes_stride_bytes;
    piece.scales += row * codes.params_stride;
    piece.offsets += codes.offsets == nullptr ? 0 : row * codes.params_stride;
    auto* const to = static_cast<uint8_t*>(out) + row * codes.cols * element_bytes;
    float* const floats = in_place ? reinterpret_cast<float*>(to) : scratch.work.as<float>().data();
    dequantize_rows(piece, DType::F32, floats, scratch);
    undo_transforms(floats, piece.rows, codes.cols, transforms.from_row(row), scratch);
    if (!in_place) kernels::narrow(floats, piece.rows * codes.cols, dtype, to);
  }
}

}  // namespace arrow_quant
