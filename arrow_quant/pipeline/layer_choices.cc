#include "arrow_quant/pipeline/layer_choices.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "arrow_quant/diffusion/allocation_hints.h"

namespace arrow_quant {
namespace {

std::string quant_type_of(BitWidth width) {
  return "int" + std::to_string(bits_of(width));
}

void add_rule(std::string& rule, const std::string& more) {
  rule += (rule.empty() || more.empty() ? "" : "; ") + more;
}

// Adds the choices of the first layer that all its companions have and allow.
void add_options(const std::vector<LayerAllocation>& layers, TiedLayers& tied) {
  for (const WidthChoice& wanted : layers[tied.layers.front()].choices) {
    std::vector<size_t> option;
    for (const size_t index : tied.layers) {
      const std::vector<WidthChoice>& choices = layers[index].choices;
      const auto same = std::find_if(choices.begin(), choices.end(), [&](const WidthChoice& c) {
        return c.quant_type == wanted.quant_type && c.allowed;
      });
      if (same != choices.end()) {
        option.push_back(static_cast<size_t>(same - choices.begin()));
      }
    }
    if (option.size() == tied.layers.size()) {
      tied.options.push_back(std::move(option));
    }
  }
}

}  // namespace

LayerAllocation describe_choices(const PlannedComponent& component, const PlannedTensor& tensor,
                                 const LayerMeasure& measured, const DiffusionQuantConfig& config) {
  LayerAllocation layer;
  layer.name = tensor.info->name;
  layer.component = component.source->name;
  layer.num_params = tensor.view.rows * tensor.view.cols;
  layer.error_weight = config.mode == QuantMode::Diffusion ? error_weight(layer.name) : 1;
  layer.rule = tensor.decision.reason;
  const bool asked = tensor.decision.asked_for;
  bool decided = false;  // an asked width, or the next one that is accurate enough
  for (const WidthMeasure& m : measured.widths) {
    const bool accurate = m.cosine >= config.min_accuracy;
    layer.choices.push_back({quant_type_of(m.width), bits_of(m.width), m.stored_bytes, m.nmse,
                             m.cosine, accurate && !decided});
    decided = decided || (asked && accurate);
    if (!accurate) {
      add_rule(layer.rule, layer.choices.back().quant_type + " is below min_accuracy");
    }
  }
  add_rule(layer.rule, measured.non_finite);
  layer.choices.push_back({kKeptChoice, bits_of(tensor.info->dtype),
                           static_cast<int64_t>(tensor.info->size_bytes), 0, 1, !decided});
  if (!asked && measured.non_finite.empty()) {
    layer.group = fused_group(layer.name);
  }
  return layer;
}

std::vector<TiedLayers> tie_layers(std::vector<LayerAllocation>& layers) {
  std::vector<TiedLayers> all;
  std::map<std::pair<std::string, std::string>, size_t> by_group;
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string& group = layers[i].group;
    const auto [found, is_new] =
        group.empty() ? std::pair(by_group.end(), true)
                      : by_group.try_emplace({layers[i].component, group}, all.size());
    if (is_new) {
      all.emplace_back();
    }
    all[is_new ? all.size() - 1 : found->second].layers.push_back(i);
  }
  for (TiedLayers& tied : all) {
    if (tied.layers.size() == 1) {
      layers[tied.layers.front()].group.clear();
    }
    add_options(layers, tied);
  }
  return all;
}

std::vector<AllocationItem> items_of(const std::vector<LayerAllocation>& layers,
                                     const std::vector<TiedLayers>& all) {
  std::vector<AllocationItem> items;
  for (const TiedLayers& tied : all) {
    AllocationItem item;
    for (const std::vector<size_t>& option : tied.options) {
      AllocationOption sum;
      for (size_t i = 0; i < option.size(); ++i) {
        const LayerAllocation& layer = layers[tied.layers[i]];
        sum.bytes += layer.choices[option[i]].stored_bytes;
        sum.error += layer.error_weight * layer.choices[option[i]].nmse;
      }
      item.push_back(sum);
    }
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace arrow_quant
