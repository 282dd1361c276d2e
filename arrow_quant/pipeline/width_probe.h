// WidthProbe: one layer quantized at one width for its figures alone. Codes go to scratch memory;
// scales and offsets are kept until their block is whole and its compressed size is known.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/pipeline/chunk.h"
#include "arrow_quant/pipeline/measure_layers.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

class WidthProbe {
 public:
  // width unset: the bytes are only hashed. Everything passed must outlive the probe.
  WidthProbe(const LayerProbe& layer, std::optional<BitWidth> width, bool hashed,
             const DiffusionQuantConfig& config);

  const LayerProbe& layer() const { return layer_; }
  const std::optional<BitWidth>& width() const { return width_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }

  // Different chunks may be processed at once. bytes: the chunk's source bytes.
  void process(size_t chunk, std::span<const uint8_t> bytes, QuantizeScratch& scratch);

  // After all chunks: whether they must be processed again, at another tensor scale.
  // Throws: Error(NonFinite).
  bool conclude();

  // After a conclude() that returned false.
  WidthMeasure measure() const;
  // Why the layer can only be kept: then there is no measure. Empty if it can be quantized.
  std::string why_kept() const;
  // Of each chunk's bytes, if hashed.
  const std::vector<uint64_t>& chunk_hashes() const { return hashes_; }

 private:
  struct Block {
    BlockRange range;
    Buffer scales, offsets;
    std::atomic<size_t> chunks_left = 0;
    int64_t stored_bytes = 0;
  };

  void begin_pass();
  void quantize(const Chunk& chunk, std::span<const uint8_t> bytes, ErrorStats& error,
                RangeStats& range, QuantizeScratch& scratch);
  void finish_block(Block& block) const;

  const LayerProbe& layer_;
  const DiffusionQuantConfig& config_;
  std::optional<BitWidth> width_;
  bool hashed_;
  float tensor_scale_ = 1.0f;
  std::vector<Block> blocks_;
  std::vector<Chunk> chunks_;
  std::vector<ErrorStats> errors_;  // of each chunk
  std::vector<RangeStats> ranges_;  // of each chunk
  std::vector<uint64_t> hashes_;    // of each chunk
  RangeStats range_;
};

}  // namespace arrow_quant
