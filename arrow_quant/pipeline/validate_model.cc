#include "arrow_quant/pipeline/validate_model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>

#include "arrow_quant/core/error.h"
#include "arrow_quant/core/threads.h"
#include "arrow_quant/diffusion/layer_rules.h"
#include "arrow_quant/io/totals.h"
#include "arrow_quant/pipeline/original_model.h"
#include "arrow_quant/pipeline/quantized_model.h"
#include "arrow_quant/quant/quantize.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

constexpr size_t kPieceFloats = size_t{1} << 18;  // restored at once
constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

std::string format_shape(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

// A tensor that stands on both sides.
struct Pair {
  const OriginalModel::Tensor* original;
  int64_t quantized;  // index into the quantized model's tensors
};

struct Pairing {
  std::vector<Pair> pairs;
  std::vector<TensorMismatch> mismatches;
};

Pairing pair_up(const OriginalModel& original, const QuantizedModel& quantized) {
  // Where each side is one component, it may be called differently on the two.
  const auto& components = quantized.manifest().components;
  const bool by_component = components.size() > 1;
  std::map<std::string, const OriginalModel::Tensor*> originals;
  for (const OriginalModel::Tensor& tensor : original.tensors()) {
    originals[(by_component ? tensor.component + "/" : "") + tensor.name] = &tensor;
  }
  Pairing pairing;
  const std::vector<LayerReport>& tensors = quantized.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const LayerReport& tensor = tensors[i];
    const auto found = originals.find((by_component ? tensor.component + "/" : "") + tensor.name);
    if (found == originals.end()) {
      pairing.mismatches.push_back({tensor.name, "extra: the original has no such tensor"});
      continue;
    }
    if (found->second->shape != tensor.shape) {
      pairing.mismatches.push_back({tensor.name, "shape " + format_shape(tensor.shape) +
                                                     ", the original's is " +
                                                     format_shape(found->second->shape)});
    } else {
      pairing.pairs.push_back({found->second, static_cast<int64_t>(i)});
    }
    originals.erase(found);
  }
  for (const auto& [name, tensor] : originals) {
    pairing.mismatches.push_back({tensor->name, "missing: the quantized model lacks it"});
  }
  return pairing;
}

class Comparison {
 public:
  Comparison(const OriginalModel& original, const QuantizedModel& quantized,
             const CancelToken* cancel)
      : original_(original), quantized_(quantized), cancel_(cancel) {}

  // The error of a quantized tensor.
  ErrorStats measure(const Pair& pair, QuantizeScratch& scratch) const {
    ErrorStats total;
    const std::optional<Buffer> loaded = original_.load(*pair.original);
    for (size_t i = 0; i < quantized_.num_blocks(pair.quantized); ++i) {
      const QuantizedBlock block = quantized_.read_block(pair.quantized, i);
      measure_block(pair, block, loaded, total, scratch);
    }
    return total;
  }

  // Whether a kept tensor holds the original's bytes.
  bool is_same(const Pair& pair) const {
    if (pair.original->values_only) {
      return true;  // the original's own bytes are not known
    }
    const std::optional<Buffer> loaded = original_.load(*pair.original);
    Buffer bytes(kPieceBytes);
    uint64_t offset = 0;
    for (size_t i = 0; i < quantized_.num_blocks(pair.quantized); ++i) {
      check_cancelled(cancel_);
      const QuantizedBlock block = quantized_.read_block(pair.quantized, i);
      if (loaded) {
        if (block.header.dtype != pair.original->dtype) return false;
        continue;  // both are kept; the checksums of both were verified when they were read
      }
      for (uint64_t at = 0; at < block.data_size_bytes; at += kPieceBytes) {
        const auto piece =
            bytes.bytes().first(std::min<uint64_t>(kPieceBytes, block.data_size_bytes - at));
        original_.read(*pair.original, offset + at, piece);
        if (std::memcmp(piece.data(), block.codes() + at, piece.size()) != 0) return false;
      }
      offset += block.data_size_bytes;
    }
    return true;
  }

 private:
  void measure_block(const Pair& pair, const QuantizedBlock& block,
                     const std::optional<Buffer>& loaded, ErrorStats& total,
                     QuantizeScratch& scratch) const {
    const CodesView all = codes_view(block);
    const TransformsView transforms = transforms_view(block.header.extras);
    if (all.rows == 0 || all.cols == 0) {
      return;
    }
    const DType dtype = loaded ? DType::F32 : pair.original->dtype;
    const size_t element_bytes = static_cast<size_t>(bits_of(dtype)) / 8;
    const size_t rows_per_piece = std::max<size_t>(1, kPieceFloats / all.cols);
    Buffer restored(std::min(rows_per_piece, all.rows) * all.cols * sizeof(float));
    Buffer bytes(loaded ? 0 : std::min(rows_per_piece, all.rows) * all.cols * element_bytes);
    for (size_t row = 0; row < all.rows; row += rows_per_piece) {
      check_cancelled(cancel_);
      CodesView piece = all;
      piece.rows = std::min(rows_per_piece, all.rows - row);
      piece.codes += row * all.codes_stride_bytes;
      piece.scales += row * all.params_stride;
      piece.offsets += all.offsets == nullptr ? 0 : row * all.params_stride;
      dequantize_rows(piece, transforms.from_row(row), DType::F32, restored.data(), scratch);
      const uint64_t offset =
          (static_cast<uint64_t>(block.header.row_start) + row) * all.cols * element_bytes;
      const size_t size = piece.rows * all.cols * element_bytes;
      RowsView rows{nullptr, dtype, piece.rows, all.cols};
      if (loaded) {
        rows.data = loaded->data() + offset;
      } else {
        original_.read(*pair.original, offset, bytes.bytes().first(size));
        rows.data = bytes.data();
      }
      ErrorStats error;
      compare_rows(rows, restored.as<float>().data(), error, scratch);
      total.merge(error);
    }
  }

  const OriginalModel& original_;
  const QuantizedModel& quantized_;
  const CancelToken* cancel_;
};

// NaN, that of an original that is not finite, is worse than any number.
bool is_worse(double cosine, double than) {
  return !std::isnan(than) && !(cosine >= than);
}

void summarize(ValidationResult& result) {
  double cosine_sum = 0, sqnr_sum = 0;
  int64_t finite = 0;
  result.cosine_similarity = result.worst_cosine_similarity = 1;
  for (const LayerValidation& layer : result.layers) {
    cosine_sum += layer.cosine_similarity;
    if (std::isfinite(layer.sqnr_db)) {
      sqnr_sum += layer.sqnr_db;
      ++finite;
    }
    if (result.worst_layer.empty() ||
        is_worse(layer.cosine_similarity, result.worst_cosine_similarity)) {
      result.worst_cosine_similarity = layer.cosine_similarity;
      result.worst_layer = layer.name;
    }
  }
  if (!result.layers.empty()) {
    result.cosine_similarity = cosine_sum / static_cast<double>(result.layers.size());
  }
  // Over the layers that lost something, if there are any.
  result.sqnr_db = finite > 0              ? sqnr_sum / static_cast<double>(finite)
                   : result.layers.empty() ? 0
                                           : std::numeric_limits<double>::infinity();
  // NaN is no less than any number, and does not pass.
  result.passed =
      result.mismatches.empty() && result.worst_cosine_similarity >= result.min_accuracy;
}

ValidationResult compare_models(const OriginalModel& original, const QuantizedModel& quantized,
                                const DiffusionQuantConfig& config, const RunHooks& hooks) {
  Pairing pairing = pair_up(original, quantized);
  if (pairing.pairs.empty()) {
    throw Error(ErrorCode::Validation, quantized.path().string() +
                                           " has no tensor in common with the original; is it a "
                                           "quantized form of that model?");
  }
  uint64_t bytes = 0;
  for (const Pair& pair : pairing.pairs) {
    bytes += pair.original->size_bytes;
  }
  Progress progress(hooks.progress, bytes);
  progress.start("validating " + quantized.path().string());

  std::vector<std::optional<LayerValidation>> layers(pairing.pairs.size());
  std::vector<char> differs(pairing.pairs.size(), 0);
  const Comparison comparison(original, quantized, hooks.cancel);
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const size_t threads =
      config.num_threads == 0 ? available_threads() : static_cast<size_t>(config.num_threads);
  run_on_threads(threads, [&](size_t) {
    QuantizeScratch scratch;
    try {
      for (size_t i = next++; i < pairing.pairs.size() && !failed; i = next++) {
        const Pair& pair = pairing.pairs[i];
        const LayerReport& report = quantized.tensors()[static_cast<size_t>(pair.quantized)];
        if (report.quant_type == "none") {
          differs[i] = !comparison.is_same(pair);
        } else {
          const ErrorStats error = comparison.measure(pair, scratch);
          layers[i] = {report.name,    report.component, report.quant_type,
                       error.cosine(), error.sqnr_db(),  error.max_abs_error};
        }
        progress.add(pair.original->size_bytes);
        progress.message(report.name);
      }
    } catch (...) {
      failed = true;
      throw;
    }
  });

  ValidationResult result;
  result.mismatches = std::move(pairing.mismatches);
  for (size_t i = 0; i < pairing.pairs.size(); ++i) {
    if (layers[i]) {
      result.layers.push_back(std::move(*layers[i]));
    } else if (differs[i]) {
      result.mismatches.push_back(
          {pairing.pairs[i].original->name, "kept, but its values differ from the original's"});
    }
  }
  const Manifest& manifest = quantized.manifest();
  const Totals totals = add_up(quantized.tensors(), part_bytes_of(manifest.components));
  result.compression_ratio = totals.compression_ratio;
  result.model_size_mb = static_cast<double>(totals.part_bytes) / 1e6;
  result.min_accuracy = manifest.min_accuracy;
  summarize(result);
  progress.finish(result.passed ? "passed" : "not passed");
  return result;
}

}  // namespace

ValidationResult validate_model(const fs::path& original_path, const fs::path& quantized_path,
                                const DiffusionQuantConfig& config, const RunHooks& hooks) {
  try {
    const QuantizedModel quantized = QuantizedModel::open(quantized_path);
    const OriginalModel original(original_path, quantized.manifest());
    return compare_models(original, quantized, config, hooks);
  } catch (const Error& error) {
    switch (error.code()) {
      case ErrorCode::Metadata:
      case ErrorCode::Unsupported:
      case ErrorCode::InvalidModel:
        throw Error(ErrorCode::Validation, std::string("cannot compare: ") + error.what());
      default:
        throw;
    }
  }
}

}  // namespace arrow_quant
