// Speed of one thread on weights that no cache holds: quantizing and dequantizing, beside the
// bandwidth of plain reading in the same run. GB/s count float32-equivalent bytes (four a weight),
// whatever the type of the source; `of_read` is the ratio to the best
// bandwidth of reading. Times are the thread's processor time.
#include <benchmark/benchmark.h>

#include <time.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/kernels/kernels.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {
namespace {

constexpr size_t kRows = 8192;
constexpr size_t kCols = 4096;
constexpr size_t kCount = kRows * kCols;  // 128 MiB of float32
constexpr size_t kGroup = 128;

// One gaussian weight in the types that are measured, made once.
struct Weights {
  Buffer f32{kCount * sizeof(float)};
  Buffer f16{kCount * sizeof(uint16_t)};
  Buffer bf16{kCount * sizeof(uint16_t)};

  Weights() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<float> some(1 << 20);
    for (float& v : some) v = normal(random);
    float* x = f32.as<float>().data();
    for (size_t i = 0; i < kCount; i += some.size()) {
      std::copy(some.begin(), some.end(), x + i);
    }
    narrow_from_f32(x, kCount, DType::F16, f16.data());
    narrow_from_f32(x, kCount, DType::BF16, bf16.data());
  }

  RowsView view(DType dtype) const {
    const Buffer& all = dtype == DType::F32 ? f32 : dtype == DType::F16 ? f16 : bf16;
    return {all.data(), dtype, kRows, kCols};
  }
};

const Weights& weights() {
  static const Weights all;
  return all;
}

struct Output {
  Buffer codes{kCount};
  Buffer scales{kCount / kGroup * sizeof(uint16_t)};
  Buffer offsets{kCount / kGroup * sizeof(uint16_t)};

  Output() {
    std::memset(codes.data(), 0, codes.size_bytes());
    std::memset(scales.data(), 0, scales.size_bytes());
    std::memset(offsets.data(), 0, offsets.size_bytes());
  }
};

Output& output() {
  static Output all;
  return all;
}

// Reads as fast as one thread can: without prefetching by hand the same loop is much slower.
uint64_t sum_words(const uint64_t* words, size_t count) {
  uint64_t sums[16] = {};
  for (size_t i = 0; i + 16 <= count; i += 16) {
    __builtin_prefetch(words + i + 1024);
    __builtin_prefetch(words + i + 1032);
    for (size_t j = 0; j < 16; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

// Time that this thread was running: a machine that others use too is not the subject.
double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds_to_read() {
  const auto words = weights().f32.as<const uint64_t>();
  const double start = thread_seconds();
  benchmark::DoNotOptimize(sum_words(words.data(), words.size()));
  return thread_seconds() - start;
}

// The best that was read in this process so far.
double read_bandwidth() {
  static double best_s = seconds_to_read();
  for (int i = 0; i < 5; ++i) best_s = std::min(best_s, seconds_to_read());
  return static_cast<double>(kCount * sizeof(float)) / best_s;
}

// Reports the best iteration, which other loads disturbed least, and its ratio to reading.
class Clock {
 public:
  explicit Clock(benchmark::State& state) : state_(state) { read_bandwidth(); }
  ~Clock() {
    const double rate = static_cast<double>(kCount * sizeof(float)) / best_s_;
    state_.counters["GB/s"] = rate / 1e9;
    state_.counters["of_read"] = rate / read_bandwidth();
  }
  void start() { start_s_ = thread_seconds(); }
  void stop() {
    const double s = thread_seconds() - start_s_;
    state_.SetIterationTime(s);
    best_s_ = std::min(best_s_, s);
  }

 private:
  benchmark::State& state_;
  double start_s_ = 0;
  double best_s_ = 1e9;
};

void read_memory(benchmark::State& state) {
  Clock clock(state);
  for (auto _ : state) {
    clock.start();
    const auto words = weights().f32.as<const uint64_t>();
    benchmark::DoNotOptimize(sum_words(words.data(), words.size()));
    clock.stop();
  }
}

// The kernel alone, packing included, error sums left out.
void rtn_kernel(benchmark::State& state, int bits, DType dtype) {
  kernels::GroupTable table;
  table.x = weights().view(dtype).data;
  table.dtype = dtype;
  table.x_stride = kCols;
  table.rows = kRows;
  table.groups_per_row = kCols / kGroup;
  table.group_step = table.group_size = kGroup;
  table.codes = output().codes.data();
  table.codes_stride = kCols * static_cast<size_t>(bits) / 8;
  table.scales = output().scales.as<uint16_t>().data();
  table.offsets = output().offsets.as<uint16_t>().data();
  table.params_stride = kCols / kGroup;
  Clock clock(state);
  for (auto _ : state) {
    clock.start();
    kernels::quantize_groups(table, {bits});
    clock.stop();
  }
}

// quantize_rows as the pipeline calls it: error sums, ranges and the check for finite weights.
void quantize(benchmark::State& state, QuantizeSpec spec, DType dtype) {
  const size_t row_bytes = packed_row_bytes(kCols, spec.bit_width);
  const CodesOut out = {output().codes.data(), row_bytes, output().scales.as<uint16_t>().data(),
                        output().offsets.as<uint16_t>().data(), kCols / kGroup};
  QuantizeScratch scratch;
  ErrorStats error;
  Clock clock(state);
  for (auto _ : state) {
    error = {};
    RangeStats range;
    clock.start();
    quantize_rows(weights().view(dtype), spec, 1.0f, out, error, range, scratch);
    clock.stop();
  }
  state.counters["SQNR_dB"] = error.sqnr_db();
}

void scan(benchmark::State& state, DType dtype) {
  QuantizeScratch scratch;
  Clock clock(state);
  for (auto _ : state) {
    clock.start();
    benchmark::DoNotOptimize(scan_rows(weights().view(dtype), BitWidth::Int4, kGroup, scratch));
    clock.stop();
  }
}

CodesView quantized_view(BitWidth width) {
  QuantizeScratch scratch;
  ErrorStats error;
  RangeStats range;
  const size_t row_bytes = packed_row_bytes(kCols, width);
  Output& out = output();
  quantize_rows(weights().view(DType::F32), {width, kGroup, QuantMethod::Rtn}, 1.0f,
                {out.codes.data(), row_bytes, out.scales.as<uint16_t>().data(),
                 out.offsets.as<uint16_t>().data(), kCols / kGroup},
                error, range, scratch);
  return {out.codes.data(),
          row_bytes,
          out.scales.as<uint16_t>().data(),
          out.offsets.as<uint16_t>().data(),
          kCols / kGroup,
          kRows,
          kCols,
          width,
          kGroup,
          1.0f};
}

Buffer& restored() {
  static Buffer floats(kCount * sizeof(float));
  return floats;
}

void dequantize(benchmark::State& state, BitWidth width, DType dtype) {
  const CodesView view = quantized_view(width);
  QuantizeScratch scratch;
  dequantize_rows(view, dtype, restored().data(), scratch);  // first touch
  Clock clock(state);
  for (auto _ : state) {
    clock.start();
    dequantize_rows(view, dtype, restored().data(), scratch);
    clock.stop();
  }
}

void compare(benchmark::State& state) {
  QuantizeScratch scratch;
  dequantize_rows(quantized_view(BitWidth::Int4), DType::F32, restored().data(), scratch);
  Clock clock(state);
  for (auto _ : state) {
    ErrorStats error;
    clock.start();
    compare_rows(weights().view(DType::F32), restored().as<float>().data(), error, scratch);
    clock.stop();
  }
}

template <class... Args>
void add(const std::string& name, Args... args) {
  benchmark::RegisterBenchmark(name.c_str(), args...)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(20);
}

void add_all() {
  const std::pair<DType, const char*> types[] = {
      {DType::F32, "f32"}, {DType::F16, "f16"}, {DType::BF16, "bf16"}};
  add("read", read_memory);
  for (const int bits : {4, 8, 2}) {
    for (const auto& [dtype, type] : types) {
      add("rtn_kernel/int" + std::to_string(bits) + "/" + type, rtn_kernel, bits, dtype);
    }
  }
  for (const QuantMethod method : {QuantMethod::Rtn, QuantMethod::Mse}) {
    for (const BitWidth width : {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8}) {
      for (const auto& [dtype, type] : types) {
        add("quantize/" + std::string(to_string(method)) + "/int" + std::to_string(bits_of(width)) +
                "/" + type,
            quantize, QuantizeSpec{width, kGroup, method, 3.0}, dtype);
      }
    }
  }
  add("quantize/mse_p2/int4/f32", quantize,
      QuantizeSpec{BitWidth::Int4, kGroup, QuantMethod::Mse, 2.0}, DType::F32);
  for (const auto& [dtype, type] : types) add("scan/" + std::string(type), scan, dtype);
  for (const BitWidth width : {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8}) {
    for (const auto& [dtype, type] : types) {
      add("dequantize/int" + std::to_string(bits_of(width)) + "/" + type, dequantize, width, dtype);
    }
  }
  add("compare/f32", compare);
}

}  // namespace
}  // namespace arrow_quant

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  arrow_quant::add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
