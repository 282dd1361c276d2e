#include "arrow_quant/quant/allocate.h"

#include <algorithm>
#include <numeric>

namespace arrow_quant {
namespace {

// One step up the hull of an item.
struct Step {
  size_t item = 0;
  size_t option = 0;  // that it leads to
  int64_t bytes = 0;
  double error = 0;  // that it saves
  double gain() const { return error / static_cast<double>(bytes); }
};

Step step_between(const AllocationItem& options, size_t from, size_t to) {
  return {0, to, options[to].bytes - options[from].bytes, options[from].error - options[to].error};
}

// Indexes of the options on the lower convex hull, by bytes: each step saves error, and no more
// per byte than the step before it.
std::vector<size_t> hull(const AllocationItem& options) {
  std::vector<size_t> order(options.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return options[a].bytes != options[b].bytes ? options[a].bytes < options[b].bytes
                                                : options[a].error < options[b].error;
  });
  std::vector<size_t> kept;
  for (const size_t option : order) {
    if (!kept.empty() && options[option].error >= options[kept.back()].error) {
      continue;
    }
    while (kept.size() > 1 && step_between(options, kept[kept.size() - 2], kept.back()).gain() <
                                  step_between(options, kept.back(), option).gain()) {
      kept.pop_back();
    }
    kept.push_back(option);
  }
  return kept;
}

int64_t sum_of_bytes(std::span<const AllocationItem> items, bool most) {
  int64_t bytes = 0;
  for (const AllocationItem& options : items) {
    const std::vector<size_t> kept = hull(options);
    bytes += options[most ? kept.back() : kept.front()].bytes;
  }
  return bytes;
}

}  // namespace

int64_t least_bytes(std::span<const AllocationItem> items) {
  return sum_of_bytes(items, false);
}

int64_t most_bytes(std::span<const AllocationItem> items) {
  return sum_of_bytes(items, true);
}

Allocated allocate(std::span<const AllocationItem> items, int64_t budget_bytes) {
  Allocated allocated;
  std::vector<Step> steps;
  for (size_t item = 0; item < items.size(); ++item) {
    const std::vector<size_t> kept = hull(items[item]);
    allocated.choices.push_back({kept.front(), std::nullopt});
    allocated.bytes += items[item][kept.front()].bytes;
    for (size_t i = 1; i < kept.size(); ++i) {
      steps.push_back(step_between(items[item], kept[i - 1], kept[i]));
      steps.back().item = item;
    }
  }
  // Stable: the steps of an item stay in their order, whose gains never rise.
  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.gain() > b.gain(); });
  std::vector<bool> ended(items.size());
  for (const Step& step : steps) {
    if (ended[step.item] || allocated.bytes + step.bytes > budget_bytes) {
      ended[step.item] = true;
      continue;
    }
    allocated.bytes += step.bytes;
    allocated.choices[step.item] = {step.option, step.gain()};
  }
  for (size_t item = 0; item < items.size(); ++item) {
    allocated.error += items[item][allocated.choices[item].option].error;
  }
  return allocated;
}

}  // namespace arrow_quant
