// TensorJob: one tensor on its way from source bytes to blocks: which pieces it is cut into, how
// each is quantized, and whether the result stands or another width is tried.
//
// A job runs in passes. Each pass cuts the tensor into chunks that any thread may process, in any
// order; then conclude() looks at what was measured. A tensor of one block keeps its codes while it
// is measured. One of several blocks is measured first and written in a second pass, since its
// blocks must not wait in memory for the last one. With calibration data a pass comes first in
// which the ways to quantize the tensor are weighed against each other, and with high quality
// others in which low ranks are tried on the best of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/buffer_pool.h"
#include "arrow_quant/io/quantized_block.h"
#include "arrow_quant/pipeline/calibration.h"
#include "arrow_quant/pipeline/chunk.h"
#include "arrow_quant/pipeline/layer_activation.h"
#include "arrow_quant/pipeline/low_rank_trials.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/pipeline/result.h"
#include "arrow_quant/quant/quantize.h"

namespace arrow_quant {

// Kept tensors below 64 KiB share row groups at the end of their part (FORMAT.md).
bool is_small_kept(const PlannedTensor& tensor);

class TensorJob {
 public:
  // What every block of the run says.
  struct Labels {
    std::string component;
    std::string modality;
    const ModelComponent* source = nullptr;  // its files, for messages
  };

  // Everything passed must outlive the job. calibration, activation: null where no calibration data
  // cover the tensor.
  TensorJob(const PlannedTensor& tensor, const DiffusionQuantConfig& config, const Labels& labels,
            Calibration* calibration = nullptr, const ActivationSource* activation = nullptr);

  const PlannedTensor& tensor() const { return tensor_; }
  const std::vector<Chunk>& chunks() const { return chunks_; }
  size_t num_blocks() const { return blocks_.size(); }

  // A small kept tensor: its chunks are only read (for the hash); its block comes from
  // take_deferred_block() when the part ends.
  bool deferred() const { return mode_ == Mode::Defer; }
  // Whether process() of this block's chunks needs it in memory, and its size there.
  bool needs_buffer(size_t block) const;
  uint64_t block_bytes(size_t block) const;
  void allocate_block(size_t block, BufferPool& pool);
  // Whether the passes from this one on need the error of the whole tensor in memory. One job of a
  // run at a time has it, from before the first such pass is processed.
  bool needs_error() const { return mode_ == Mode::LowRank; }
  void allocate_error() { low_ranks_->allocate(); }

  // Different chunks may be processed at once. bytes: the chunk's source bytes.
  void process(size_t chunk, std::span<const uint8_t> bytes, TrialScratch& scratch);

  enum class Next {
    Write,  // the pass's blocks stand: take them (a deferred job has none)
    Again,  // chunks() is a new list: process it
  };
  // After all chunks of a pass. Throws: Error(NonFinite), Error(QualityBelowThreshold).
  Next conclude();

  // Whether a block may be taken as soon as its chunks are processed, before conclude().
  bool blocks_stand() const { return accepted_; }
  // The block with its header and metrics; its chunks must be processed.
  QuantizedBlock take_block(size_t block);
  // The one block of a deferred job, read from its file again. Throws: Error(Io).
  QuantizedBlock read_deferred_block(const InputFile& file) const;

  // Without stored_bytes, which the writer knows.
  LayerReport report() const;
  // If min_accuracy gave more bits than asked; extra_bytes as planned.
  const std::optional<Promotion>& promotion() const { return promotion_; }

 private:
  enum class Mode {
    Scan,     // the range of each column is taken
    Weigh,    // ways to quantize it are tried, nothing is kept
    LowRank,  // low ranks are tried on the best of them
    Hold,     // one block, kept until conclude()
    Measure,  // several blocks, only measured
    Emit,     // decided: blocks go out one by one
    Defer,    // a small kept tensor
  };
  struct BlockState {
    BlockRange range;
    QuantizedBlock data;
    ErrorStats error;
  };

  const LayerViews& views();
  CodesOut outputs_of(const Chunk& chunk);
  void weigh(size_t index, const RowsView& rows, const QuantizeSpec& spec, TrialScratch& scratch);
  void scan_columns(const RowsView& rows, std::span<float> abs_max, TrialScratch& scratch) const;
  void begin_pass();
  void begin_kept(std::string reason);
  void fill_header(size_t block, BlockHeader& header) const;
  void choose_activation();
  const InputTransform* transform() const;
  BlockExtras extras(size_t block) const;
  ErrorStats block_error(size_t block) const;
  RangeStats range_of_chunks() const;
  // What a pass must begin again for: a weight that is not finite, another tensor scale.
  bool begin_again(const RangeStats& range);
  Next conclude_scan();
  Next conclude_weighing();
  void take(const NamedTreatment& treatment);
  void set_output_errors(const std::function<const OutputError&(size_t)>& of_chunk);
  OutputError output_error() const;
  bool begin_low_ranks(const std::vector<NamedTreatment>& treatments,
                       std::span<const double> errors);
  Next conclude_low_rank();
  Next judge_accuracy(double accuracy);
  Next conclude_measurement();
  bool may_equalize() const;
  void look_for_uneven_columns(const RowsView& rows, const QuantizeSpec& spec,
                               TrialScratch& scratch);
  bool try_equalization();
  Next accept(double accuracy);
  Next try_more_bits(double accuracy);
  void set_promotion_cost();

  const PlannedTensor& tensor_;
  const DiffusionQuantConfig& config_;
  const Labels& labels_;
  uint64_t row_bytes_ = 0;  // of the source; 0 if a row is no whole number of bytes

  std::optional<BitWidth> width_;  // of this pass; unset: kept
  float tensor_scale_ = 1.0f;
  Mode mode_ = Mode::Hold;
  std::string reason_;
  std::vector<BlockState> blocks_;
  std::vector<Chunk> chunks_;
  std::vector<ErrorStats> errors_;  // of each chunk
  std::vector<RangeStats> ranges_;  // of each chunk

  Calibration* calibration_;
  const ActivationSource* activation_source_;
  std::optional<ActivationChoice> activation_;      // once block 0 is being made
  std::vector<std::vector<float>> column_abs_max_;  // of each chunk, then of all
  std::shared_ptr<const LayerViews> views_;         // once the first chunk is weighed
  // A pointer, since a job can be moved and a flag cannot.
  std::unique_ptr<std::once_flag> views_made_ = std::make_unique<std::once_flag>();
  std::vector<std::vector<OutputError>> output_errors_;  // of each chunk, of each treatment
  Treatment treatment_;
  std::string method_;
  std::vector<TrialReport> trials_;
  std::vector<OutputError> block_output_errors_;  // of the treatment that was chosen
  std::unique_ptr<LowRankTrials> low_ranks_;      // while they are tried
  std::shared_ptr<const InputView> own_view_;     // what treatment_ points to, if not into views_
  std::shared_ptr<const LowRank> low_rank_;       // of the treatment that was chosen; may be null

  // Without calibration data: columns scaled to one size, if a sample of rows gains by it.
  std::unique_ptr<InputView> equalized_;
  std::optional<ErrorStats> without_equalization_;  // once it is tried

  bool accepted_ = false;  // the width stands; only its blocks are still to be made
  ErrorStats total_;       // of the accepted pass
  std::optional<Promotion> promotion_;
};

}  // namespace arrow_quant
