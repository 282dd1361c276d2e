// allocate: which of its options each item takes so that the sum of the errors is least while the
// sum of the bytes stays within a budget. Knows numbers only; which layers they stand for, how
// they were measured and which options are allowed is pipeline/'s business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace arrow_quant {

struct AllocationOption {
  int64_t bytes = 0;
  double error = 0;  // finite
};
using AllocationItem = std::vector<AllocationOption>;  // in any order, at least one

struct Allocated {
  struct Choice {
    size_t option = 0;  // index into the item's options
    // The error that the last step up saved, per byte; unset where the item stayed at its smallest.
    std::optional<double> gain_per_byte;
  };
  std::vector<Choice> choices;  // of each item
  int64_t bytes = 0;
  double error = 0;
};

// What the items take at least, and what they take if every step up that saves error is taken.
int64_t least_bytes(std::span<const AllocationItem> items);
int64_t most_bytes(std::span<const AllocationItem> items);

// Starts with every item at its smallest option, and takes the steps up along the lower convex
// hulls of the items' options in order of error saved per byte; one that does not fit ends its
// item. Equal gains are taken in the order of the items. Where all steps up to some gain fit
// exactly this is the optimum; else it misses it by less than the first step that did not fit
// saves. More bytes never give more error.
// Pre: budget_bytes ≥ least_bytes(items). Cost: O(options · log options).
Allocated allocate(std::span<const AllocationItem> items, int64_t budget_bytes);

}  // namespace arrow_quant
