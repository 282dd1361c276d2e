#include "arrow_quant/pipeline/width_probe.h"

#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/part_writer.h"
#include "arrow_quant/pipeline/non_finite.h"

namespace arrow_quant {

WidthProbe::WidthProbe(const LayerProbe& layer, std::optional<BitWidth> width, bool hashed,
                       const DiffusionQuantConfig& config)
    : layer_(layer), config_(config), width_(width), hashed_(hashed) {
  // The digest is of the same chunks whether the layer is measured or not.
  const BitWidth cut_at = width.value_or(layer.narrowest.value_or(BitWidth::Int8));
  const std::vector<BlockRange> ranges = blocks_of(*layer.tensor, cut_at, config.group_size);
  blocks_ = std::vector<Block>(ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    blocks_[i].range = ranges[i];
  }
  chunks_ = cut_into_chunks(*layer.tensor, ranges);
  hashes_.resize(hashed ? chunks_.size() : 0);
  if (width_) {
    begin_pass();
  }
}

void WidthProbe::begin_pass() {
  errors_.assign(chunks_.size(), {});
  ranges_.assign(chunks_.size(), {});
  const auto cols = static_cast<size_t>(layer_.tensor->view.cols);
  const size_t groups = groups_per_row(cols, static_cast<size_t>(config_.group_size));
  for (Block& block : blocks_) {
    const size_t bytes = static_cast<size_t>(block.range.row_count) * groups * sizeof(uint16_t);
    block.scales = Buffer(bytes);
    block.offsets = *width_ == BitWidth::Int8 ? Buffer() : Buffer(bytes);
    block.chunks_left = 0;
  }
  for (const Chunk& chunk : chunks_) {
    ++blocks_[chunk.block].chunks_left;
  }
}

void WidthProbe::process(size_t index, std::span<const uint8_t> bytes, QuantizeScratch& scratch) {
  if (hashed_) {
    hashes_[index] = xxh3_64(bytes);
  }
  if (!width_) {
    return;
  }
  const Chunk& chunk = chunks_[index];
  quantize(chunk, bytes, errors_[index], ranges_[index], scratch);
  Block& block = blocks_[chunk.block];
  if (--block.chunks_left == 0) {
    finish_block(block);
  }
}

void WidthProbe::quantize(const Chunk& chunk, std::span<const uint8_t> bytes, ErrorStats& error,
                          RangeStats& range, QuantizeScratch& scratch) {
  Block& block = blocks_[chunk.block];
  const auto group_size = static_cast<size_t>(config_.group_size);
  const RowsView rows{bytes.data(), layer_.tensor->info->dtype,
                      static_cast<size_t>(chunk.row_count), static_cast<size_t>(chunk.col_count)};
  CodesOut out;
  out.codes_stride_bytes = packed_row_bytes(rows.cols, *width_);
  out.params_stride = groups_per_row(static_cast<size_t>(layer_.tensor->view.cols), group_size);
  const size_t first_param =
      static_cast<size_t>(chunk.row_start - block.range.row_start) * out.params_stride +
      static_cast<size_t>(chunk.col_start) / group_size;
  Buffer codes(rows.rows * out.codes_stride_bytes);
  out.codes = codes.data();
  out.scales = block.scales.as<uint16_t>().data() + first_param;
  if (!block.offsets.empty()) {
    out.offsets = block.offsets.as<uint16_t>().data() + first_param;
  }
  quantize_rows(rows, {*width_, group_size, config_.method, config_.error_norm}, tensor_scale_, out,
                error, range, scratch);
}

// The parameters have served once their size is known.
void WidthProbe::finish_block(Block& block) const {
  const auto cols = static_cast<size_t>(layer_.tensor->view.cols);
  QuantizedBlock params;
  params.scales = std::move(block.scales);
  params.offsets = std::move(block.offsets);
  block.stored_bytes =
      block.range.row_count * static_cast<int64_t>(packed_row_bytes(cols, *width_)) +
      stored_param_bytes(params);
}

bool WidthProbe::conclude() {
  if (!width_) {
    return false;
  }
  range_ = {};
  size_t offset = 0;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    range_.merge(ranges_[i], offset);
    offset += static_cast<size_t>(chunks_[i].row_count * chunks_[i].col_count);
  }
  if (range_.non_finite) {
    if (config_.on_nonfinite == OnNonFinite::Error) {
      throw_non_finite(layer_.file->path(), *layer_.tensor->info, *range_.non_finite);
    }
    return false;
  }
  if (const float scale = choose_tensor_scale(range_); scale != tensor_scale_) {
    tensor_scale_ = scale;
    hashed_ = false;  // done in the first pass
    begin_pass();
    return true;
  }
  return false;
}

std::string WidthProbe::why_kept() const {
  return range_.non_finite ? kept_for_non_finite(*layer_.tensor->info, *range_.non_finite)
                           : kept_for_range(range_);
}

WidthMeasure WidthProbe::measure() const {
  ErrorStats total;
  for (const ErrorStats& error : errors_) {
    total.merge(error);
  }
  WidthMeasure measure{*width_, 0, 0, total.cosine()};
  measure.nmse = total.error_sq == 0 ? 0 : total.error_sq / total.original_sq;
  for (const Block& block : blocks_) {
    measure.stored_bytes += block.stored_bytes;
  }
  return measure;
}

}  // namespace arrow_quant
