#include "arrow_quant/pipeline/memory_needs.h"

#include <algorithm>
#include <string>

#include "arrow_quant/core/error.h"
#include "arrow_quant/core/threads.h"
#include "arrow_quant/pipeline/chunk.h"
#include "arrow_quant/pipeline/tensor_job.h"

namespace arrow_quant {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kThreadBytes = kMiB;         // stack, floats of a search, allocator
constexpr uint64_t kWriterBytes = 8 * kMiB;     // compressor, copies of carried files
constexpr uint64_t kGatheredBytes = 16 * kMiB;  // small kept tensors that share a row group
constexpr uint64_t kRowGroupBytes = 40 * 1024;  // metadata, as objects and as bytes
constexpr uint64_t kTensorBytes = 2 * 1024;     // plan, records, report

struct BlockNeed {
  uint64_t block_bytes = 0;
  uint64_t param_bytes = 0;  // of them
};

// The largest block of a tensor at any width that it may come to, and kept.
BlockNeed largest_block(const PlannedTensor& tensor, const DiffusionQuantConfig& config) {
  const uint64_t row_bytes = source_row_bytes(tensor);
  BlockNeed need{std::min(tensor.info->size_bytes, std::max(kMaxBlockBytes, row_bytes)), 0};
  if (row_bytes == 0) {
    need.block_bytes = tensor.info->size_bytes;  // rows that end inside a byte are not cut
  }
  if (!tensor.decision.bit_width || tensor.view.cols == 0) {
    return need;
  }
  const auto cols = static_cast<size_t>(tensor.view.cols);
  const BitWidth narrowest = has_target(config) ? BitWidth::Int2 : *tensor.decision.bit_width;
  for (const BitWidth width : {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8}) {
    if (bits_of(width) < bits_of(narrowest)) continue;
    const uint64_t code_bytes = packed_row_bytes(cols, width);
    for (const BlockRange& range : blocks_of(tensor, width, config.group_size)) {
      const uint64_t rows = static_cast<uint64_t>(range.row_count);
      const uint64_t params =
          rows * param_row_bytes(cols, width, static_cast<size_t>(config.group_size));
      need.block_bytes = std::max(need.block_bytes, rows * code_bytes + params);
      need.param_bytes = std::max(need.param_bytes, params);
    }
  }
  return need;
}

uint64_t row_groups_of(const PlannedTensor& tensor) {
  return 1 + tensor.info->size_bytes / kMaxBlockBytes;
}

// Measuring keeps the parameters of two tensors, and compresses those of a block.
uint64_t measuring_bytes(const PlannedTensor& tensor, const DiffusionQuantConfig& config) {
  if (!has_target(config) || tensor.view.cols == 0) {
    return 0;
  }
  const size_t groups =
      groups_per_row(static_cast<size_t>(tensor.view.cols), static_cast<size_t>(config.group_size));
  return 2 * static_cast<uint64_t>(tensor.view.rows) * groups * 4 +
         2 * largest_block(tensor, config).param_bytes + kWriterBytes;
}

std::string mebibytes(uint64_t bytes) {
  return std::to_string((bytes + kMiB - 1) / kMiB);
}

}  // namespace

MemoryNeeds memory_needs(const Plan& plan, const DiffusionQuantConfig& config) {
  MemoryNeeds needs;
  uint64_t chunk_bytes = 0, param_bytes = 0, small_bytes = 0, tensors = 0, row_groups = 0;
  for (const PlannedComponent& component : plan.components) {
    for (const PlannedTensor& tensor : component.tensors) {
      const BlockNeed block = largest_block(tensor, config);
      needs.block_bytes = std::max(needs.block_bytes, block.block_bytes);
      param_bytes = std::max(param_bytes, block.param_bytes);
      chunk_bytes = std::max(chunk_bytes, largest_chunk_bytes(tensor));
      needs.measuring_bytes = std::max(needs.measuring_bytes, measuring_bytes(tensor, config));
      small_bytes += is_small_kept(tensor) ? tensor.info->size_bytes : 0;
    }
    tensors += component.tensors.size();
    for (const PlannedPart& part : component.parts) {
      uint64_t of_part = 0;
      for (size_t i = 0; i < part.num_tensors; ++i) {
        of_part += row_groups_of(component.tensors[part.first_tensor + i]);
      }
      row_groups = std::max(row_groups, of_part);
    }
  }
  needs.per_thread_bytes = 2 * chunk_bytes + InputReader::kResidentBytes + kThreadBytes;
  // Parameters are copied into a page, and compressed into another.
  needs.writing_bytes = kWriterBytes + 2 * param_bytes + 2 * std::min(small_bytes, kGatheredBytes) +
                        row_groups * kRowGroupBytes + tensors * kTensorBytes;
  return needs;
}

uint64_t memory_limit_bytes(const DiffusionQuantConfig& config, uint64_t available_bytes) {
  return config.enable_streaming ? static_cast<uint64_t>(config.max_memory_limit_mb) * kMiB
                                 : available_bytes / 2;
}

size_t wanted_threads(const DiffusionQuantConfig& config) {
  return config.num_threads == 0 ? available_threads() : static_cast<size_t>(config.num_threads);
}

size_t threads_that_fit(const MemoryNeeds& needs, size_t num_threads, uint64_t limit_bytes) {
  while (needs.total_bytes(num_threads) > limit_bytes) {
    if (num_threads == 1) {
      throw Error(ErrorCode::Configuration, "max_memory_limit_mb = " + mebibytes(limit_bytes) +
                                                ": this model's tensors need at least " +
                                                mebibytes(needs.total_bytes(1)) +
                                                "; raise the limit, or turn enable_streaming off");
    }
    --num_threads;
  }
  return num_threads;
}

}  // namespace arrow_quant
