#include <utility>
#include <vector>

#include "arrow_quant/io/arrow_codes.h"
#include "arrow_quant/io/weight_batch.h"
#include "arrow_quant/pipeline/quantize_batch.h"
#include "arrow_quant/pipeline/row_pieces.h"
#include "arrow_quant/quant/zero_point.h"

namespace arrow_quant {

ArrowBatch dequantize_batch_arrow(ArrowTable batch, int64_t num_threads,
                                  const CancelToken* cancel) {
  const ArrowCodes coded(std::move(batch));
  const std::span<const CodesRow> layers = coded.rows();
  WeightBatch result(layers);
  std::vector<RowPiece> pieces;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (const auto& codes = layers[layer].codes) {
      add_pieces(layer, codes->rows, codes->cols, pieces);
    }
  }
  for_each_piece(pieces, num_threads, cancel, [&](size_t, size_t index) {
    const RowPiece& piece = pieces[index];
    const ZeroPointView& codes = *layers[piece.layer].codes;
    dequantize_rows(codes, {piece.row, piece.col, piece.rows, piece.cols},
                    result.rows()[piece.layer].data() + piece.row * codes.cols + piece.col);
  });
  return std::move(result).to_arrow(layers);
}

}  // namespace arrow_quant
