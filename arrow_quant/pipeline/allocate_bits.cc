#include "arrow_quant/pipeline/allocate_bits.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/part_overhead.h"
#include "arrow_quant/pipeline/layer_choices.h"

namespace arrow_quant {
namespace {

// Calls visit(component, tensor) for the layers whose bits count, in plan order. ThePlan is Plan or
// const Plan.
template <class ThePlan, class Visit>
void for_each_candidate(ThePlan& plan, Visit visit) {
  for (auto& component : plan.components) {
    for (auto& tensor : component.tensors) {
      if (tensor.decision.quantizable) {
        visit(component, tensor);
      }
    }
  }
}

// From above, of the part files of the plan as it is decided, beside their blocks' stored bytes.
int64_t max_overhead_bytes(const Plan& plan, int64_t group_size, size_t metadata_bytes) {
  int64_t bytes = 0;
  for (const PlannedComponent& component : plan.components) {
    for (const PlannedPart& part : component.parts) {
      int64_t num_row_groups = 0;
      size_t num_shared = 0;
      for (size_t i = part.first_tensor; i < part.first_tensor + part.num_tensors; ++i) {
        const PlannedTensor& tensor = component.tensors[i];
        const auto num_blocks =
            static_cast<int64_t>(blocks_of(tensor, tensor.decision.bit_width, group_size).size());
        const auto text_bytes =
            static_cast<int64_t>(tensor.info->name.size() + component.source->name.size() +
                                 (tensor.decision.bit_width ? 0 : tensor.decision.reason.size()));
        bytes += num_blocks * max_row_overhead_bytes(
                                  static_cast<int64_t>(tensor.info->shape.size()), text_bytes);
        const bool shares =
            !tensor.decision.bit_width && tensor.info->size_bytes < kSharedBlockBytes;
        num_shared += shares;
        num_row_groups += shares ? 0 : num_blocks;
      }
      num_row_groups += (num_shared + kSharedRowGroupRows - 1) / kSharedRowGroupRows;
      bytes += max_part_overhead_bytes(static_cast<int64_t>(metadata_bytes)) +
               num_row_groups * kMaxRowGroupOverheadBytes;
    }
  }
  return bytes;
}

// With so many decimals that it can be asked for.
std::string rounded_up(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.4f", std::ceil(value * 1e4) / 1e4);
  return text;
}

class BitAllocation {
 public:
  BitAllocation(Plan& plan, const std::vector<LayerMeasure>& measured,
                const DiffusionQuantConfig& config, size_t metadata_bytes)
      : plan_(plan), config_(config), metadata_bytes_(metadata_bytes) {
    for_each_candidate(plan, [&](const PlannedComponent& component, const PlannedTensor& tensor) {
      allocation_.layers.push_back(
          describe_choices(component, tensor, measured[allocation_.layers.size()], config));
    });
    tied_ = tie_layers(allocation_.layers);
    items_ = items_of(allocation_.layers, tied_);
  }

  Allocation run() {
    if (config_.target_bits_per_weight) {
      allocation_.target = "target_bits_per_weight";
      allocation_.target_value = *config_.target_bits_per_weight;
      meet_bits_per_weight();
    } else {
      allocation_.target = "target_size_mb";
      allocation_.target_value = *config_.target_size_mb;
      meet_size();
    }
    return std::move(allocation_);
  }

 private:
  void meet_bits_per_weight() {
    double num_params = 0;
    for (const LayerAllocation& layer : allocation_.layers) {
      num_params += static_cast<double>(layer.num_params);
    }
    const auto bits_per_weight = [&](int64_t bytes) {
      return num_params == 0 ? 0 : 8 * static_cast<double>(bytes) / num_params;
    };
    const double budget = allocation_.target_value * num_params / 8;
    if (budget < static_cast<double>(least_bytes(items_))) {
      refuse(bits_per_weight(least_bytes(items_)), bits_per_weight(most_bytes(items_)),
             "bits per weight");
    }
    share(static_cast<int64_t>(std::min(budget, static_cast<double>(most_bytes(items_)))));
  }

  // What the files take beside the layers' bytes depends on the decisions, if only a little: where
  // it comes to too much, the layers get less.
  void meet_size() {
    const double target = allocation_.target_value * 1e6;
    share(most_bytes(items_));
    const int64_t most = max_file_bytes();
    share(least_bytes(items_));
    const int64_t least = max_file_bytes();
    if (target < static_cast<double>(least)) {
      refuse(static_cast<double>(least) / 1e6, static_cast<double>(most) / 1e6, "MB");
    }
    const auto limit = static_cast<int64_t>(std::min(target, 1e18));
    int64_t budget = std::min(limit - (least - allocation_.stored_bytes), most_bytes(items_));
    share(budget);
    for (int64_t excess = max_file_bytes() - limit; excess > 0; excess = max_file_bytes() - limit) {
      budget = std::max(budget - excess, least_bytes(items_));
      share(budget);
    }
  }

  void share(int64_t budget_bytes) {
    const Allocated allocated = allocate(items_, budget_bytes);
    for (size_t i = 0; i < tied_.size(); ++i) {
      const Allocated::Choice& choice = allocated.choices[i];
      for (size_t j = 0; j < tied_[i].layers.size(); ++j) {
        LayerAllocation& layer = allocation_.layers[tied_[i].layers[j]];
        layer.chosen = tied_[i].options[choice.option][j];
        layer.gain_per_byte = choice.gain_per_byte;
      }
    }
    allocation_.budget_bytes = budget_bytes;
    allocation_.stored_bytes = allocated.bytes;
    allocation_.weighted_error = allocated.error;
    apply_allocation(plan_, allocation_, config_);
  }

  int64_t max_file_bytes() const {
    int64_t bytes =
        allocation_.stored_bytes + max_overhead_bytes(plan_, config_.group_size, metadata_bytes_);
    for (const PlannedComponent& component : plan_.components) {
      for (const PlannedTensor& tensor : component.tensors) {
        bytes += tensor.decision.quantizable ? 0 : static_cast<int64_t>(tensor.info->size_bytes);
      }
    }
    return bytes;
  }

  [[noreturn]] void refuse(double least, double most, const std::string& unit) const {
    char value[32];
    std::snprintf(value, sizeof value, "%g", allocation_.target_value);
    throw Error(ErrorCode::Configuration,
                allocation_.target + " = " + value + ": the least possible is " +
                    rounded_up(least) + " " + unit + ", the most " + rounded_up(most) +
                    "; ask for more, or let layers get fewer bits with layer_bit_widths, a lower "
                    "min_accuracy or a larger group_size");
  }

  Plan& plan_;
  const DiffusionQuantConfig& config_;
  size_t metadata_bytes_;
  Allocation allocation_;
  std::vector<TiedLayers> tied_;
  std::vector<AllocationItem> items_;
};

// What the plan says of a layer that was shared bits.
LayerDecision decision_of(const LayerAllocation& layer, const std::string& target) {
  const WidthChoice& chosen = layer.choices[layer.chosen];
  LayerDecision decision;
  decision.quantizable = true;
  if (chosen.quant_type != kKeptChoice) {
    decision.bit_width = bit_width_from_bits(chosen.bit_width);
    decision.reason = "allocated: " + (layer.rule.empty() ? "within " + target : layer.rule);
  } else if (layer.choices.size() == 1) {
    decision.reason = layer.rule;
  } else {
    decision.reason = "allocated: kept within " + target;
  }
  return decision;
}

}  // namespace

std::vector<LayerProbe> layers_to_measure(const Plan& plan) {
  std::vector<LayerProbe> probes;
  for_each_candidate(plan, [&](const PlannedComponent& component, const PlannedTensor& tensor) {
    probes.push_back({&tensor, &component.source->shards[tensor.shard], tensor.decision.bit_width});
  });
  return probes;
}

Allocation allocate_bits(Plan& plan, const std::vector<LayerMeasure>& measured,
                         const DiffusionQuantConfig& config, size_t metadata_bytes) {
  return BitAllocation(plan, measured, config, metadata_bytes).run();
}

bool apply_allocation(Plan& plan, const Allocation& allocation,
                      const DiffusionQuantConfig& config) {
  size_t next = 0;
  bool fits = true;
  for_each_candidate(plan, [&](const PlannedComponent& component, const PlannedTensor& tensor) {
    fits = fits && next < allocation.layers.size() &&
           allocation.layers[next].name == tensor.info->name &&
           allocation.layers[next].component == component.source->name;
    ++next;
  });
  if (!fits || next != allocation.layers.size()) {
    return false;
  }
  next = 0;
  for_each_candidate(plan, [&](const PlannedComponent&, PlannedTensor& tensor) {
    const LayerAllocation& layer = allocation.layers[next++];
    if (!tensor.decision.asked_for) {
      tensor.decision = decision_of(layer, allocation.target);
    }
  });
  for (PlannedComponent& component : plan.components) {
    assign_parts(component, config);
  }
  return true;
}

}  // namespace arrow_quant
