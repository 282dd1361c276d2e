// What a TensorJob hands out: finished blocks, and the report of what became of the tensor.
#include <utility>

#include "arrow_quant/pipeline/tensor_extras.h"
#include "arrow_quant/pipeline/tensor_job.h"

namespace arrow_quant {

ErrorStats TensorJob::block_error(size_t block) const {
  ErrorStats error;
  for (size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i].block == block) {
      error.merge(errors_[i]);
    }
  }
  return error;
}

void TensorJob::fill_header(size_t block, BlockHeader& header) const {
  const BlockRange& range = blocks_[block].range;
  header.layer_name = tensor_.info->name;
  header.shape = tensor_.info->shape;
  header.dtype = tensor_.info->dtype;
  header.block_index = static_cast<int32_t>(block);
  header.row_start = range.row_start;
  header.row_count = range.row_count;
  header.num_params = range.row_count * tensor_.view.cols;
  header.is_diffusion_model = config_.mode == QuantMode::Diffusion;
  header.modality = labels_.modality;
  header.component = labels_.component;
  if (!width_) {
    header.bit_width = bits_of(tensor_.info->dtype);
    header.kept_reason = reason_;
    return;
  }
  header.quantized = true;
  header.bit_width = bits_of(*width_);
  header.group_size = static_cast<int32_t>(config_.group_size);
  header.tensor_scale = tensor_scale_;
  header.method = method_;
  header.extras = extras(block);
  if (!block_output_errors_.empty()) {
    header.output_sqnr_db = static_cast<float>(block_output_errors_[block].sqnr_db());
  }
  const ErrorStats error = block_error(block);
  header.cosine_similarity = static_cast<float>(error.cosine());
  header.sqnr_db = static_cast<float>(error.sqnr_db());
  header.max_abs_error = static_cast<float>(error.max_abs_error);
}

// Where the inputs are quantized: by the first thread that makes block 0, which is not ready
// before.
void TensorJob::choose_activation() {
  if (activation_source_ == nullptr || activation_bits_of(tensor_, config_) == 0) return;
  activation_ = choose_layer_activation(tensor_, transform(), config_, *activation_source_);
}

const InputTransform* TensorJob::transform() const {
  return treatment_.view == nullptr ? nullptr : &treatment_.view->transform;
}

BlockExtras TensorJob::extras(size_t block) const {
  const bool fixed = config_.activation_mode == ActivationMode::Static;
  const int bits = fixed && !activation_ ? 0 : activation_bits_of(tensor_, config_);
  BlockExtras extras = tensor_extras(
      transform(), low_rank_.get(), bits, fixed ? ActMode::Static : ActMode::Dynamic,
      activation_ ? activation_->act : std::vector<ActivationRange>{ActivationRange()}, block);
  if (low_rank_) {
    const BlockRange& range = blocks_[block].range;
    const auto rank = static_cast<int64_t>(low_rank_->rank);
    const auto u = low_rank_->u.begin() + range.row_start * rank;
    extras.low_rank_u.assign(u, u + range.row_count * rank);
  }
  return extras;
}

QuantizedBlock TensorJob::take_block(size_t block) {
  QuantizedBlock taken = std::move(blocks_[block].data);
  blocks_[block].data = {};
  fill_header(block, taken.header);
  return taken;
}

QuantizedBlock TensorJob::read_deferred_block(const InputFile& file) const {
  QuantizedBlock block;
  fill_header(0, block.header);
  block.data_size_bytes = tensor_.info->size_bytes;
  block.data = Buffer(QuantizedBlock::kDataPrefixBytes + block.data_size_bytes);
  file.read_at(tensor_.info->begin, {block.codes(), block.data_size_bytes});
  return block;
}

LayerReport TensorJob::report() const {
  LayerReport report;
  report.name = tensor_.info->name;
  report.component = labels_.component;
  report.shape = tensor_.info->shape;
  report.dtype = to_string(tensor_.info->dtype);
  report.num_params = tensor_.view.rows * tensor_.view.cols;
  report.source_bytes = static_cast<int64_t>(tensor_.info->size_bytes);
  report.reason = reason_;
  if (width_) {
    report.quant_type = "int" + std::to_string(bits_of(*width_));
    report.bit_width = bits_of(*width_);
    report.group_size = static_cast<int>(config_.group_size);
    report.cosine_similarity = total_.cosine();
    report.sqnr_db = total_.sqnr_db();
    report.max_abs_error = total_.max_abs_error;
    report.method = method_;
    report.trials = trials_;
    if (activation_) {
      report.activation_steps = activation_->steps;
      report.markov = activation_->diagnosis;
    }
    if (!block_output_errors_.empty()) {
      report.output_sqnr_db = output_error().sqnr_db();
    }
  } else {
    report.quant_type = "none";
    report.bit_width = bits_of(tensor_.info->dtype);
  }
  return report;
}

}  // namespace arrow_quant
