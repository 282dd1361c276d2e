// Cuts the layers of a batch into pieces of similar cost, and runs a function over them on several
// threads. A piece depends on shapes alone, never on a thread, since sums follow its order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "arrow_quant/core/cancel.h"

namespace arrow_quant {

// Whole rows of a layer's [rows, cols], or a part of one very long row.
struct RowPiece {
  size_t layer = 0;
  size_t row = 0;
  size_t col = 0;
  size_t rows = 0;
  size_t cols = 0;

  size_t size() const { return rows * cols; }
};

// The pieces of a layer, in order, appended; none if it has no elements.
void add_pieces(size_t layer, size_t rows, size_t cols, std::vector<RowPiece>& pieces);

// Calls work(thread, index of a piece) for every piece; small pieces are taken several at a time.
// num_threads: 0 means all that the process may use. cancel may be null.
// Throws: Error(Cancelled); what `work` throws.
void for_each_piece(const std::vector<RowPiece>& pieces, int64_t num_threads,
                    const CancelToken* cancel, const std::function<void(size_t, size_t)>& work);

}  // namespace arrow_quant
