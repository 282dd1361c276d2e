#include "arrow_quant/pipeline/quantize_batch.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/core/threads.h"
#include "arrow_quant/io/arrow_weights.h"
#include "arrow_quant/pipeline/non_finite.h"
#include "arrow_quant/pipeline/row_pieces.h"
#include "arrow_quant/quant/zero_point.h"

namespace arrow_quant {
namespace {

// Memory of one thread, reused from piece to piece.
struct Scratch {
  QuantizeScratch quantize;
  Buffer params;  // fp16 scales, then offsets
};

class BatchRun {
 public:
  BatchRun(std::span<const WeightRow> layers, const DiffusionQuantConfig& config,
           const BatchOptions& options)
      : layers_(layers),
        config_(config),
        options_(options),
        spec_{*bit_width_from_bits(static_cast<int>(config.bit_width)),
              static_cast<size_t>(config.group_size), config.method, config.error_norm},
        result_(layers, spec_.bit_width, spec_.group_size),
        tensor_scales_(layers.size(), 1.0f) {}

  CodedBatch run() {
    std::vector<size_t> all;
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      if (const auto& error = layers_[layer].error) {
        fail(layer, *error);
      } else {
        all.push_back(layer);
      }
    }
    const std::vector<size_t> rescaled = run_pass(all, Pass::First);
    run_pass(rescaled, Pass::Rescaled);
    return std::move(result_);
  }

 private:
  void fail(size_t layer, const Error& error) {
    if (!options_.continue_on_error) {
      throw error;
    }
    result_.fail(layer, error);
  }

  enum class Pass { First, Rescaled };

  // Quantizes the layers; the first pass returns those whose parameters ask for another tensor
  // scale, which is then set.
  std::vector<size_t> run_pass(const std::vector<size_t>& chosen, Pass pass) {
    pieces_.clear();
    for (const size_t layer : chosen) {
      add_pieces(layer, layers_[layer].weights.rows, layers_[layer].weights.cols, pieces_);
    }
    errors_.assign(pieces_.size(), {});
    ranges_.assign(pieces_.size(), {});
    std::vector<Scratch> scratch(num_threads());
    for_each_piece(pieces_, static_cast<int64_t>(scratch.size()), options_.cancel,
                   [&](size_t thread, size_t piece) { quantize(piece, scratch[thread]); });
    std::vector<size_t> again;
    size_t first = 0;
    for (const size_t layer : chosen) {
      size_t end = first;
      while (end < pieces_.size() && pieces_[end].layer == layer) {
        ++end;
      }
      if (!conclude(layer, first, end, pass)) {
        again.push_back(layer);
      }
      first = end;
    }
    return again;
  }

  size_t num_threads() const {
    return config_.num_threads == 0 ? available_threads()
                                    : static_cast<size_t>(config_.num_threads);
  }

  void quantize(size_t index, Scratch& scratch) {
    const RowPiece& piece = pieces_[index];
    const RowsView& weights = layers_[piece.layer].weights;
    const size_t element_bytes = static_cast<size_t>(bits_of(weights.dtype)) / 8;
    const size_t row_bytes = packed_row_bytes(weights.cols, spec_.bit_width);
    const size_t groups = groups_per_row(weights.cols, spec_.group_size);
    const size_t piece_groups = groups_per_row(piece.cols, spec_.group_size);
    const size_t num_params = piece.rows * piece_groups;
    scratch.params.reserve(2 * num_params * sizeof(uint16_t));

    const auto* source = static_cast<const uint8_t*>(weights.data);
    const RowsView view = {source + (piece.row * weights.cols + piece.col) * element_bytes,
                           weights.dtype, piece.rows, piece.cols};
    const CodedRow& to = result_.rows()[piece.layer];
    CodesOut out;
    out.codes =
        to.codes.data() + piece.row * row_bytes + packed_row_bytes(piece.col, spec_.bit_width);
    out.codes_stride_bytes = row_bytes;
    out.scales = scratch.params.as<uint16_t>().data();
    out.offsets = out.scales + num_params;
    out.params_stride = piece_groups;
    const float tensor_scale = tensor_scales_[piece.layer];
    quantize_rows(view, spec_, tensor_scale, out, errors_[index], ranges_[index], scratch.quantize);
    const size_t first_param = piece.row * groups + piece.col / spec_.group_size;
    to_zero_points(out.scales, spec_.bit_width == BitWidth::Int8 ? nullptr : out.offsets,
                   num_params, tensor_scale, to.scales.data() + first_param,
                   to.zero_points.data() + first_param);
  }

  // Takes what the pieces [first, end) of a layer measured; false if it must run again.
  bool conclude(size_t layer, size_t first, size_t end, Pass pass) {
    RangeStats range;
    ErrorStats error;
    size_t offset = 0;
    for (size_t i = first; i < end; ++i) {
      range.merge(ranges_[i], offset);
      error.merge(errors_[i]);
      offset += pieces_[i].size();
    }
    if (range.non_finite) {
      fail(layer, weights_error(
                      layer, " holds " + non_finite_text(layers_[layer].shape, *range.non_finite) +
                                 "; weights must be finite and within float32's range"));
      return true;
    }
    if (const std::string problem = kept_for_range(range); !problem.empty()) {
      fail(layer, weights_error(layer, " " + problem + "; divide the weights by a constant"));
      return true;
    }
    if (const float scale = choose_tensor_scale(range); pass == Pass::First && scale != 1.0f) {
      tensor_scales_[layer] = scale;
      return false;
    }
    CodedRow& row = result_.rows()[layer];
    row.cosine_similarity = static_cast<float>(error.cosine());
    row.sqnr_db = static_cast<float>(error.sqnr_db());
    return true;
  }

  Error weights_error(size_t layer, const std::string& problem) const {
    return Error(ErrorCode::InvalidRow,
                 place("weights", static_cast<int64_t>(layer), layers_[layer].name) + problem);
  }

  std::span<const WeightRow> layers_;
  const DiffusionQuantConfig& config_;
  const BatchOptions& options_;
  QuantizeSpec spec_;
  CodedBatch result_;
  std::vector<float> tensor_scales_;
  std::vector<RowPiece> pieces_;    // of this pass, layer by layer
  std::vector<ErrorStats> errors_;  // of each piece
  std::vector<RangeStats> ranges_;  // of each piece
};

std::string conversion_note(DType dtype) {
  switch (dtype) {
    case DType::F64:
      return "weights of float64 were rounded to float32";
    case DType::F16:
      return "weights of float16 were widened to float32";
    default:
      return "";
  }
}

}  // namespace

CodedBatch quantize_batch(std::span<const WeightRow> rows, const DiffusionQuantConfig& config,
                          const BatchOptions& options) {
  config.validate();
  return BatchRun(rows, config, options).run();
}

ArrowBatch quantize_batch_arrow(ArrowTable table, const DiffusionQuantConfig& config,
                                const BatchOptions& options) {
  const ArrowWeights weights(std::move(table));
  return quantize_batch(weights.rows(), config, options)
      .to_arrow(weights.rows(), options.continue_on_error, conversion_note(weights.dtype()));
}

}  // namespace arrow_quant
