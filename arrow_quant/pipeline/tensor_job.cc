#include "arrow_quant/pipeline/tensor_job.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "arrow_quant/core/error.h"
#include "arrow_quant/pipeline/non_finite.h"
#include "arrow_quant/quant/equalize.h"

namespace arrow_quant {
namespace {

constexpr uint64_t kSmallKeptBytes = uint64_t{64} << 10;  // shares a row group (FORMAT.md)

constexpr int64_t kPanelRows = 64;  // that compensation works on together

std::string format_value(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

}  // namespace

bool is_small_kept(const PlannedTensor& tensor) {
  return !tensor.decision.bit_width && tensor.info->size_bytes < kSmallKeptBytes;
}

TensorJob::TensorJob(const PlannedTensor& tensor, const DiffusionQuantConfig& config,
                     const Labels& labels, Calibration* calibration,
                     const ActivationSource* activation)
    : tensor_(tensor),
      config_(config),
      labels_(labels),
      reason_(tensor.decision.reason),
      calibration_(calibration),
      activation_source_(activation),
      method_(to_string(config.method)) {
  row_bytes_ = source_row_bytes(tensor);
  width_ = tensor.decision.bit_width;
  if (width_) {
    begin_pass();
  } else {
    begin_kept(tensor.decision.reason);
  }
}

void TensorJob::begin_kept(std::string reason) {
  width_.reset();
  tensor_scale_ = 1.0f;
  reason_ = std::move(reason);
  accepted_ = true;
  begin_pass();
}

void TensorJob::begin_pass() {
  const std::vector<BlockRange> ranges = blocks_of(tensor_, width_, config_.group_size);
  blocks_.clear();
  for (const BlockRange& range : ranges) {
    blocks_.push_back({range, {}, {}});
  }
  if (!width_ && tensor_.info->size_bytes < kSmallKeptBytes) {
    mode_ = Mode::Defer;
  } else if (accepted_) {
    mode_ = Mode::Emit;
  } else if (low_ranks_) {
    mode_ = Mode::LowRank;
  } else if (calibration_ != nullptr) {
    const bool scan = column_abs_max_.empty() && calibration_->wants_weight_range(tensor_);
    mode_ = scan ? Mode::Scan : Mode::Weigh;
  } else {
    mode_ = blocks_.size() == 1 ? Mode::Hold : Mode::Measure;
  }
  const bool in_panels = width_ && calibration_ != nullptr;
  chunks_ = cut_into_chunks(tensor_, ranges, in_panels ? kPanelRows : 1);
  errors_.assign(chunks_.size(), {});
  output_errors_.assign(mode_ == Mode::Weigh ? chunks_.size() : 0, {});
  if (mode_ == Mode::LowRank) {
    if (low_ranks_->pass() == LowRankTrials::Pass::Fit) chunks_ = {Chunk()};
    low_ranks_->begin_pass(chunks_.size());
  }
  if (mode_ == Mode::Scan) {
    column_abs_max_.assign(chunks_.size(),
                           std::vector<float>(static_cast<size_t>(tensor_.view.cols)));
  } else if (mode_ == Mode::Weigh) {
    views_.reset();
    views_made_ = std::make_unique<std::once_flag>();
  }
  ranges_.assign(chunks_.size(), {});
}

bool TensorJob::needs_buffer(size_t block) const {
  return (mode_ == Mode::Hold || mode_ == Mode::Emit) && blocks_[block].data.data.empty();
}

uint64_t TensorJob::block_bytes(size_t block) const {
  const BlockRange& range = blocks_[block].range;
  const auto rows = static_cast<uint64_t>(range.row_count);
  if (!width_) {
    return blocks_.size() == 1 ? tensor_.info->size_bytes : rows * row_bytes_;
  }
  const auto cols = static_cast<size_t>(tensor_.view.cols);
  return rows * (packed_row_bytes(cols, *width_) +
                 param_row_bytes(cols, *width_, static_cast<size_t>(config_.group_size)));
}

void TensorJob::allocate_block(size_t block, BufferPool& pool) {
  QuantizedBlock& data = blocks_[block].data;
  const auto rows = static_cast<size_t>(blocks_[block].range.row_count);
  if (!width_) {
    data.data_size_bytes = block_bytes(block);
  } else {
    const auto cols = static_cast<size_t>(tensor_.view.cols);
    const size_t params = rows * groups_per_row(cols, static_cast<size_t>(config_.group_size));
    data.data_size_bytes = rows * packed_row_bytes(cols, *width_);
    data.scales = pool.take(params * 2);
    if (*width_ != BitWidth::Int8) {
      data.offsets = pool.take(params * 2);
    }
  }
  data.data = pool.take(QuantizedBlock::kDataPrefixBytes + data.data_size_bytes);
}

void TensorJob::process(size_t index, std::span<const uint8_t> bytes, TrialScratch& scratch) {
  if (mode_ == Mode::Defer) {
    return;
  }
  const Chunk& chunk = chunks_[index];
  BlockState& block = blocks_[chunk.block];

  if (!width_) {
    const uint64_t block_offset =
        row_bytes_ == 0 ? 0 : static_cast<uint64_t>(block.range.row_start) * row_bytes_;
    std::memcpy(block.data.codes() + (chunk.source_offset - block_offset), bytes.data(),
                bytes.size());
    return;
  }
  const auto group_size = static_cast<size_t>(config_.group_size);
  const RowsView rows{bytes.data(), tensor_.info->dtype, static_cast<size_t>(chunk.row_count),
                      static_cast<size_t>(chunk.col_count)};
  const QuantizeSpec spec{*width_, group_size, config_.method, config_.error_norm};
  if (mode_ == Mode::Scan) {
    scan_columns(rows, column_abs_max_[index], scratch);
  } else if (mode_ == Mode::Weigh) {
    weigh(index, rows, spec, scratch);
  } else if (mode_ == Mode::LowRank) {
    low_ranks_->process(index, chunk, rows, spec, tensor_scale_, scratch);
  } else if (mode_ == Mode::Measure) {
    Buffer codes, params;
    CodesOut out;
    out.codes_stride_bytes = packed_row_bytes(rows.cols, *width_);
    out.params_stride = groups_per_row(rows.cols, group_size);
    const size_t count = rows.rows * out.params_stride;
    codes = Buffer(rows.rows * out.codes_stride_bytes);
    params = Buffer(count * 4);
    out.codes = codes.data();
    out.scales = params.as<uint16_t>().data();
    out.offsets = out.scales + count;
    quantize_rows_as(treatment_, {}, rows, spec, tensor_scale_, out, errors_[index], ranges_[index],
                     scratch);
  } else {
    if (mode_ == Mode::Emit && index == 0) choose_activation();
    const LowRankView low_rank =
        low_rank_ ? view_from_row(*low_rank_, static_cast<size_t>(chunk.row_start)) : LowRankView();
    quantize_rows_as(treatment_, low_rank, rows, spec, tensor_scale_, outputs_of(chunk),
                     errors_[index], ranges_[index], scratch);
  }
  if (index == 0 && may_equalize()) {
    look_for_uneven_columns(rows, spec, scratch);
  }
}

// In the first pass without calibration data that will be measured. Where inputs are quantized they
// would pay for it, and where bits are shared out its bytes were not foreseen.
bool TensorJob::may_equalize() const {
  return config_.enable_spatial && !config_.activation_bits && !has_target(config_) &&
         calibration_ == nullptr && (mode_ == Mode::Hold || mode_ == Mode::Measure) &&
         !equalized_ && !without_equalization_ && chunks_[0].col_count == tensor_.view.cols;
}

// Where the chunk's codes and parameters stand in its block.
CodesOut TensorJob::outputs_of(const Chunk& chunk) {
  BlockState& block = blocks_[chunk.block];
  const auto cols = static_cast<size_t>(tensor_.view.cols);
  const auto group_size = static_cast<size_t>(config_.group_size);
  CodesOut out;
  out.codes_stride_bytes = packed_row_bytes(cols, *width_);
  out.params_stride = groups_per_row(cols, group_size);
  const auto row = static_cast<size_t>(chunk.row_start - block.range.row_start);
  const size_t first_param =
      row * out.params_stride + static_cast<size_t>(chunk.col_start) / group_size;
  out.codes = block.data.codes() + row * out.codes_stride_bytes +
              packed_row_bytes(static_cast<size_t>(chunk.col_start), *width_);
  out.scales = block.data.scales.as<uint16_t>().data() + first_param;
  if (!block.data.offsets.empty()) {
    out.offsets = block.data.offsets.as<uint16_t>().data() + first_param;
  }
  return out;
}

// The largest |w| of each column; what is not finite is left to the next pass.
void TensorJob::scan_columns(const RowsView& rows, std::span<float> abs_max,
                             TrialScratch& scratch) const {
  scratch.weights.reserve(rows.rows * rows.cols * sizeof(float));
  float* weights = scratch.weights.as<float>().data();
  widen_to_f32(rows.data, rows.dtype, rows.rows * rows.cols, weights);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) {
      const float magnitude = std::abs(weights[r * rows.cols + c]);
      abs_max[c] = magnitude > abs_max[c] ? magnitude : abs_max[c];
    }
  }
}

void TensorJob::weigh(size_t index, const RowsView& rows, const QuantizeSpec& spec,
                      TrialScratch& scratch) {
  const LayerViews& layer = views();
  std::vector<Treatment> treatments;
  for (const NamedTreatment& named : layer.treatments(*width_)) {
    treatments.push_back(named.treatment);
  }
  output_errors_[index].assign(treatments.size(), OutputError(layer.num_steps()));
  weigh_rows(treatments, layer.held_out(), rows, spec, tensor_scale_, output_errors_[index],
             ranges_[index], scratch);
}

// Made by the first thread that comes; the others wait.
const LayerViews& TensorJob::views() {
  std::call_once(*views_made_, [&] {
    views_ = calibration_->views(
        tensor_, *width_,
        column_abs_max_.empty() ? std::span<const float>() : column_abs_max_.front());
  });
  return *views_;
}

TensorJob::Next TensorJob::conclude() {
  if (accepted_) {
    for (const ErrorStats& error : errors_) {
      total_.merge(error);
    }
    return Next::Write;
  }
  if (mode_ == Mode::Scan) {
    return conclude_scan();
  }
  if (mode_ == Mode::LowRank) {
    return conclude_low_rank();
  }
  const RangeStats range = range_of_chunks();
  if (begin_again(range)) {
    return Next::Again;
  }
  return mode_ == Mode::Weigh ? conclude_weighing() : conclude_measurement();
}

RangeStats TensorJob::range_of_chunks() const {
  RangeStats range;
  size_t offset = 0;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    range.merge(ranges_[i], offset);
    offset += static_cast<size_t>(chunks_[i].row_count * chunks_[i].col_count);
  }
  return range;
}

bool TensorJob::begin_again(const RangeStats& range) {
  if (range.non_finite) {
    if (config_.on_nonfinite == OnNonFinite::Error) {
      throw_non_finite(labels_.source->shards[tensor_.shard].path(), *tensor_.info,
                       *range.non_finite);
    }
    begin_kept(kept_for_non_finite(*tensor_.info, *range.non_finite));
    return true;
  }
  if (const std::string reason = kept_for_range(range); !reason.empty()) {
    begin_kept(reason);
    return true;
  }
  if (const float scale = choose_tensor_scale(range); scale != tensor_scale_) {
    tensor_scale_ = scale;
    begin_pass();
    return true;
  }
  return false;
}

TensorJob::Next TensorJob::conclude_scan() {
  std::vector<float>& all = column_abs_max_.front();
  for (const std::vector<float>& chunk : column_abs_max_) {
    for (size_t c = 0; c < all.size(); ++c) {
      all[c] = std::max(all[c], chunk[c]);
    }
  }
  column_abs_max_.resize(1);
  begin_pass();
  return Next::Again;
}

void TensorJob::look_for_uneven_columns(const RowsView& rows, const QuantizeSpec& spec,
                                        TrialScratch& scratch) {
  const double gain = sampled_gain_db(rows, spec, tensor_scale_, scratch);
  if (gain >= needed_gain_db(static_cast<size_t>(tensor_.view.rows))) {
    equalized_ = std::make_unique<InputView>();
    equalized_->transform.input_scale = equalizing_scale(rows, scratch);
  }
}

// Whether another pass is needed: with equal columns, or back without them.
bool TensorJob::try_equalization() {
  if (!equalized_) {
    return false;
  }
  if (!without_equalization_) {
    without_equalization_ = total_;
    treatment_ = {equalized_.get(), {}};
    method_ += ", equalization";
    begin_pass();
    return true;
  }
  if (treatment_.view == nullptr) {
    return false;
  }
  const auto relative = [](const ErrorStats& error) { return error.error_sq / error.original_sq; };
  const double gain = total_.sqnr_db() - without_equalization_->sqnr_db();
  const bool accepted = gain >= needed_gain_db(static_cast<size_t>(tensor_.view.rows));
  const std::string plain(to_string(config_.method));
  trials_ = {{plain, relative(*without_equalization_), !accepted},
             {method_, relative(total_), accepted}};
  if (accepted) {
    return false;
  }
  treatment_ = {};
  method_ = plain;
  begin_pass();
  return true;
}

TensorJob::Next TensorJob::conclude_measurement() {
  total_ = {};
  for (const ErrorStats& error : errors_) {
    total_.merge(error);
  }
  if (try_equalization()) {
    return Next::Again;
  }
  return judge_accuracy(total_.cosine());
}

TensorJob::Next TensorJob::judge_accuracy(double accuracy) {
  return accuracy < config_.min_accuracy ? try_more_bits(accuracy) : accept(accuracy);
}

TensorJob::Next TensorJob::accept(double accuracy) {
  if (promotion_) {
    promotion_->to_bits = bits_of(*width_);
    promotion_->accuracy_after = accuracy;
    set_promotion_cost();
  }
  accepted_ = true;
  if (mode_ == Mode::Hold) {
    return Next::Write;
  }
  begin_pass();
  total_ = {};
  return Next::Again;
}

void TensorJob::set_promotion_cost() {
  promotion_->extra_bytes =
      planned_bytes(tensor_, width_, config_.group_size) -
      planned_bytes(tensor_, bit_width_from_bits(promotion_->from_bits), config_.group_size);
}

TensorJob::Next TensorJob::try_more_bits(double accuracy) {
  if (config_.fail_fast) {
    throw Error(ErrorCode::QualityBelowThreshold,
                tensor_.info->name + ": cosine similarity " + format_value(accuracy) + " at " +
                    std::to_string(bits_of(*width_)) + " bits is below min_accuracy " +
                    format_value(config_.min_accuracy) +
                    "; lower min_accuracy, ask for more bits, or drop fail_fast so that the layer "
                    "gets more bits");
  }
  if (!promotion_) {
    promotion_ = Promotion{tensor_.info->name, bits_of(*width_), 0, accuracy, 1.0, 0};
  }
  char text[96];
  std::snprintf(text, sizeof text, "cosine %.6f at %d bits is below min_accuracy %g",
                promotion_->accuracy_before, promotion_->from_bits, config_.min_accuracy);
  if (*width_ == BitWidth::Int8) {
    promotion_->to_bits = bits_of(tensor_.info->dtype);
    begin_kept(text);
    set_promotion_cost();
  } else {
    width_ = *width_ == BitWidth::Int2 ? BitWidth::Int4 : BitWidth::Int8;
    tensor_scale_ = 1.0f;
    treatment_ = {};
    low_rank_.reset();
    own_view_.reset();
    method_ = to_string(config_.method);
    trials_.clear();
    equalized_.reset();
    without_equalization_.reset();
    reason_ = text;
    begin_pass();
  }
  return Next::Again;
}

}  // namespace arrow_quant
