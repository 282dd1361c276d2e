#include "arrow_quant/io/totals.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace arrow_quant {

Totals add_up(const std::vector<LayerReport>& layers, int64_t part_bytes) {
  Totals totals;
  totals.part_bytes = part_bytes;
  int64_t quantized_params = 0, quantized_bytes = 0, measured = 0, finite_sqnrs = 0;
  double cosine_sum = 0, sqnr_sum = 0;
  std::map<int, int64_t> params_of_width;
  for (const LayerReport& layer : layers) {
    totals.num_params += layer.num_params;
    totals.source_bytes += layer.source_bytes;
    totals.stored_bytes += layer.stored_bytes;
    if (layer.quant_type == "none") {
      ++totals.num_kept;
      continue;
    }
    ++totals.num_quantized;
    quantized_params += layer.num_params;
    quantized_bytes += layer.stored_bytes;
    params_of_width[layer.bit_width] += layer.num_params;
    if (!layer.cosine_similarity || !layer.sqnr_db) {
      continue;  // a plan: nothing has been measured yet
    }
    ++measured;
    cosine_sum += *layer.cosine_similarity;
    if (std::isfinite(*layer.sqnr_db)) {
      sqnr_sum += *layer.sqnr_db;
      ++finite_sqnrs;
    }
    if (totals.worst_layer.empty() || *layer.cosine_similarity < totals.worst_cosine_similarity) {
      totals.worst_cosine_similarity = *layer.cosine_similarity;
      totals.worst_layer = layer.name;
    }
  }
  if (!params_of_width.empty()) {
    totals.commonest_bit_width =
        std::max_element(params_of_width.begin(), params_of_width.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; })
            ->first;
  }
  const auto ratio = [](double a, double b, double otherwise) { return b > 0 ? a / b : otherwise; };
  const auto params = static_cast<double>(totals.num_params);
  totals.bits_per_weight =
      ratio(8.0 * static_cast<double>(quantized_bytes), static_cast<double>(quantized_params), 0);
  totals.bits_per_weight_model = ratio(8.0 * static_cast<double>(part_bytes), params, 0);
  totals.compression_ratio =
      ratio(static_cast<double>(totals.source_bytes), static_cast<double>(part_bytes), 0);
  totals.cosine_similarity = ratio(cosine_sum, static_cast<double>(measured), 1);
  // Over the layers that lost something, if there are any.
  totals.sqnr_db = ratio(sqnr_sum, static_cast<double>(finite_sqnrs),
                         measured > 0 ? std::numeric_limits<double>::infinity() : 0);
  return totals;
}

std::vector<LayerReport> layers_of(const std::vector<ComponentRecord>& components) {
  std::vector<LayerReport> layers;
  for (const ComponentRecord& component : components) {
    for (const PartRecord& part : component.parts) {
      for (const TensorRecord& tensor : part.tensors) {
        layers.push_back(tensor.report);
      }
    }
  }
  return layers;
}

int64_t part_bytes_of(const std::vector<ComponentRecord>& components) {
  int64_t bytes = 0;
  for (const ComponentRecord& component : components) {
    for (const PartRecord& part : component.parts) {
      bytes += static_cast<int64_t>(part.file.size_bytes);
    }
  }
  return bytes;
}

}  // namespace arrow_quant
