#include "arrow_quant/io/block_checks.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

bool same_tensor(const BlockHeader& a, const BlockHeader& b) {
  return a.shape == b.shape && a.dtype == b.dtype && a.quantized == b.quantized &&
         a.bit_width == b.bit_width && a.group_size == b.group_size &&
         a.extras.transforms == b.extras.transforms &&
         a.extras.hadamard_block == b.extras.hadamard_block && a.extras.rank == b.extras.rank &&
         a.extras.bias_groups == b.extras.bias_groups;
}

// blocks: of one tensor, by block_index.
void check_tensor(const std::vector<const BlockHeader*>& blocks, const std::string& file) {
  const BlockHeader& first = *blocks[0];
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorCode::Metadata, file + ": tensor '" + first.layer_name + "' of shape " +
                                         shape_text(first.shape) + ": " + problem);
  };
  int64_t next_row = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const BlockHeader& block = *blocks[i];
    if (block.block_index != static_cast<int64_t>(i)) {
      fail("block " + std::to_string(i) + " is missing or stands twice");
    }
    if (block.row_start != next_row) {
      fail("block " + std::to_string(i) + " starts at row " + std::to_string(block.row_start) +
           ", expected " + std::to_string(next_row));
    }
    if (!same_tensor(block, first)) {
      fail("block " + std::to_string(i) + " describes another tensor than block 0");
    }
    next_row += block.row_count;
  }
  if (const int64_t rows = matrix_view(first.shape)->rows; next_row != rows) {
    fail("its blocks hold " + std::to_string(next_row) + " of " + std::to_string(rows) + " rows");
  }
}

}  // namespace

std::optional<MatrixView> matrix_view(const std::vector<int64_t>& shape) {
  constexpr int64_t kMaxElements = std::numeric_limits<int64_t>::max() / 64;  // sizes in bits fit
  MatrixView view;
  int64_t product = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0 || (shape[i] > 0 && product > kMaxElements / shape[i])) {
      return std::nullopt;
    }
    product *= std::max<int64_t>(shape[i], 1);
    (i == 0 && shape.size() > 1 ? view.rows : view.cols) *= shape[i];
  }
  return view;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

void check_tensors_complete(const std::vector<BlockHeader>& blocks, const std::string& file) {
  std::map<std::pair<std::string_view, std::string_view>, std::vector<const BlockHeader*>> tensors;
  for (const BlockHeader& block : blocks) {
    tensors[{block.component, block.layer_name}].push_back(&block);
  }
  for (auto& [name, tensor] : tensors) {
    std::sort(tensor.begin(), tensor.end(), [](const BlockHeader* a, const BlockHeader* b) {
      return a->block_index < b->block_index;
    });
    check_tensor(tensor, file);
  }
}

}  // namespace arrow_quant
