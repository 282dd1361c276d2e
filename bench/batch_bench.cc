// The C++ call that a batch from Python is measured against: quantizes and measures layers of
// gaussian float32 weights that lie in memory, on the same number of threads, into buffers that
// were touched before. For every line on standard input it does so once, and prints the seconds.
//
//   batch_bench LAYERS WEIGHTS_PER_LAYER BITS METHOD THREADS
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/threads.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {
namespace {

constexpr size_t kGroup = 128;

class Bench {
 public:
  Bench(size_t layers, size_t weights, QuantizeSpec spec)
      : layers_(layers),
        weights_(weights),
        spec_(spec),
        source_(layers * weights * sizeof(float)),
        codes_(layers * packed_row_bytes(weights, spec.bit_width)),
        scales_(layers * groups_per_row(weights, kGroup) * sizeof(uint16_t)),
        offsets_(scales_.size_bytes()),
        errors_(layers) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (float& weight : source_.as<float>().first(weights)) {
      weight = normal(random);
    }
    for (size_t layer = 1; layer < layers; ++layer) {
      std::memcpy(source_.as<float>().data() + layer * weights, source_.data(),
                  weights * sizeof(float));
    }
    for (Buffer* buffer : {&codes_, &scales_, &offsets_}) {
      std::memset(buffer->data(), 0, buffer->size_bytes());
    }
  }

  // Seconds that all layers took.
  double run(size_t num_threads) {
    const auto start = std::chrono::steady_clock::now();
    std::atomic<size_t> next = 0;
    run_on_threads(num_threads, [&](size_t) {
      QuantizeScratch scratch;
      for (size_t layer = next++; layer < layers_; layer = next++) {
        quantize(layer, scratch);
      }
    });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  void quantize(size_t layer, QuantizeScratch& scratch) {
    const size_t row_bytes = packed_row_bytes(weights_, spec_.bit_width);
    const size_t groups = groups_per_row(weights_, kGroup);
    const RowsView view = {source_.as<float>().data() + layer * weights_, DType::F32, 1, weights_};
    const CodesOut out = {codes_.data() + layer * row_bytes, row_bytes,
                          scales_.as<uint16_t>().data() + layer * groups,
                          offsets_.as<uint16_t>().data() + layer * groups, groups};
    RangeStats range;
    errors_[layer] = {};
    quantize_rows(view, spec_, 1.0f, out, errors_[layer], range, scratch);
  }

  size_t layers_;
  size_t weights_;
  QuantizeSpec spec_;
  Buffer source_;
  Buffer codes_;
  Buffer scales_;
  Buffer offsets_;
  std::vector<ErrorStats> errors_;
};

}  // namespace
}  // namespace arrow_quant

int main(int argc, char** argv) {
  using namespace arrow_quant;
  if (argc != 6) {
    std::fprintf(stderr, "usage: batch_bench LAYERS WEIGHTS_PER_LAYER BITS METHOD THREADS\n");
    return 2;
  }
  const auto bit_width = bit_width_from_bits(std::atoi(argv[3]));
  const auto method = parse_quant_method(argv[4]);
  const auto threads = static_cast<size_t>(std::atoi(argv[5]));
  if (!bit_width || !method || threads == 0) {
    std::fprintf(stderr, "batch_bench: bits, method or threads are not allowed\n");
    return 2;
  }
  Bench bench(std::strtoull(argv[1], nullptr, 10), std::strtoull(argv[2], nullptr, 10),
              {*bit_width, kGroup, *method});
  for (std::string line; std::getline(std::cin, line);) {
    std::printf("%.9f\n", bench.run(threads));
    std::fflush(stdout);
  }
}
