#include "arrow_quant/pipeline/row_pieces.h"

#include <algorithm>
#include <atomic>

#include "arrow_quant/core/threads.h"

namespace arrow_quant {
namespace {

// 1 MiB of float32: fits a core's cache with its results, and takes a fraction of a millisecond.
constexpr size_t kPieceElements = size_t{1} << 18;
// Longer rows are cut, at a multiple of every group size.
constexpr size_t kLongRow = 4 * kPieceElements;

// Where runs of pieces begin that are taken at once, and the end.
std::vector<size_t> group_pieces(const std::vector<RowPiece>& pieces) {
  std::vector<size_t> starts = {0};
  size_t size = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    size += pieces[i].size();
    if (size >= kPieceElements / 2 || i + 1 == pieces.size()) {
      starts.push_back(i + 1);
      size = 0;
    }
  }
  return starts;
}

}  // namespace

void add_pieces(size_t layer, size_t rows, size_t cols, std::vector<RowPiece>& pieces) {
  if (rows == 0 || cols == 0) {
    return;
  }
  const size_t rows_at_once = std::max<size_t>(1, kPieceElements / cols);
  const size_t cols_at_once = cols > kLongRow ? kPieceElements : cols;
  for (size_t row = 0; row < rows; row += rows_at_once) {
    for (size_t col = 0; col < cols; col += cols_at_once) {
      pieces.push_back({layer, row, col, std::min(rows_at_once, rows - row),
                        std::min(cols_at_once, cols - col)});
    }
  }
}

void for_each_piece(const std::vector<RowPiece>& pieces, int64_t num_threads,
                    const CancelToken* cancel, const std::function<void(size_t, size_t)>& work) {
  const std::vector<size_t> starts = group_pieces(pieces);
  const size_t num_groups = starts.size() - 1;
  const size_t allowed = num_threads == 0 ? available_threads() : static_cast<size_t>(num_threads);
  std::atomic<size_t> next = 0;
  run_on_threads(std::max<size_t>(1, std::min(allowed, num_groups)), [&](size_t thread) {
    for (size_t group = next++; group < num_groups; group = next++) {
      if (cancel != nullptr) {
        cancel->check();
      }
      for (size_t i = starts[group]; i < starts[group + 1]; ++i) {
        work(thread, i);
      }
    }
  });
}

}  // namespace arrow_quant
