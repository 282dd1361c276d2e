// Speed of one thread of what calibration data add: passing errors on (GPTQ), factorizing XᵀX. A
// weight of [512, cols] takes rows · cols² floating point operations (half of them products), a
// factorization cols³ / 3. Beside it the multiplication that both are made of, on a size that lies
// in the cache. Times are the thread's processor time.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/kernels/panels.h"
#include "arrow_quant/quant/compensate.h"

namespace arrow_quant {
namespace {

constexpr size_t kRows = 512;

std::vector<float> gaussian(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> x(count);
  for (float& v : x) v = normal(random);
  return x;
}

// Of inputs whose columns lean on their neighbours.
std::vector<float> gram(size_t cols) {
  std::vector<float> xtx;
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = i; j < cols; ++j) xtx.push_back(1.0f / static_cast<float>(1 + j - i));
  }
  return xtx;
}

void report(benchmark::State& state, double operations) {
  state.counters["GFLOP/s"] = benchmark::Counter(
      operations / 1e9, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void compensate(benchmark::State& state) {
  const auto cols = static_cast<size_t>(state.range(0));
  const std::vector<float> w = gaussian(kRows * cols, 1);
  const std::optional<SweepFactor> factor = factorize(gram(cols), cols);
  const QuantizeSpec spec;
  const size_t row_bytes = packed_row_bytes(cols, spec.bit_width);
  const size_t groups = groups_per_row(cols, spec.group_size);
  std::vector<uint8_t> codes(kRows * row_bytes);
  std::vector<uint16_t> params(2 * kRows * groups);
  CompensateScratch scratch;
  for (auto _ : state) {
    ErrorStats error;
    RangeStats range;
    quantize_rows_with(
        {false, true}, {{}, &*factor}, {w.data(), DType::F32, kRows, cols}, spec, 1.0f,
        {codes.data(), row_bytes, params.data(), params.data() + kRows * groups, groups}, error,
        range, scratch);
    benchmark::DoNotOptimize(error);
  }
  report(state, static_cast<double>(kRows * cols * cols));
}
BENCHMARK(compensate)->Arg(1024)->Arg(3072)->Unit(benchmark::kMillisecond);

void factorization(benchmark::State& state) {
  const auto cols = static_cast<size_t>(state.range(0));
  const std::vector<float> xtx = gram(cols);
  for (auto _ : state) benchmark::DoNotOptimize(factorize(xtx, cols));
  const auto n = static_cast<double>(cols);
  report(state, n * n * n / 3);
}
BENCHMARK(factorization)->Arg(1024)->Arg(3072)->Unit(benchmark::kMillisecond);

void multiplication(benchmark::State& state) {
  constexpr size_t kDepth = 128, kLines = 256;
  const std::vector<float> a = gaussian(kLines * kDepth, 2);
  const std::vector<float> b = gaussian(kDepth * kernels::kPanelRows, 3);
  std::vector<float> c(kLines * kernels::kPanelRows);
  for (auto _ : state) {
    kernels::multiply_add({.a = a.data(),
                           .a_row_stride = kDepth,
                           .a_col_stride = 1,
                           .b = b.data(),
                           .b_stride = kernels::kPanelRows,
                           .c = c.data(),
                           .c_stride = kernels::kPanelRows,
                           .rows = kLines,
                           .depth = kDepth,
                           .cols = kernels::kPanelRows});
    benchmark::ClobberMemory();
  }
  report(state, 2.0 * kLines * kDepth * kernels::kPanelRows);
}
BENCHMARK(multiplication);

}  // namespace
}  // namespace arrow_quant

BENCHMARK_MAIN();
