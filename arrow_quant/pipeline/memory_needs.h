// MemoryNeeds: what a run has to hold in memory at once, told from its plan: the least that it can
// work with. What it holds beyond that (blocks that wait for their turn) it takes from a budget.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "arrow_quant/config/config.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

struct MemoryNeeds {
  uint64_t per_thread_bytes = 0;   // source bytes of a chunk, and what is computed beside them
  uint64_t block_bytes = 0;        // the largest block, at any width that it may come to
  uint64_t writing_bytes = 0;      // copies on their way to the file, and its metadata
  uint64_t measuring_bytes = 0;    // where bits are shared out, before the first block
  uint64_t calibrating_bytes = 0;  // the calibration data of a layer, prepared

  uint64_t total_bytes(size_t num_threads) const {
    return per_thread_bytes * num_threads +
           std::max(block_bytes + writing_bytes + calibrating_bytes, measuring_bytes);
  }
};

MemoryNeeds memory_needs(const Plan& plan, const DiffusionQuantConfig& config);

// The config's limit if it streams; else half of what the machine has available.
uint64_t memory_limit_bytes(const DiffusionQuantConfig& config, uint64_t available_bytes);

// The config's number, or that of all that this process may use.
size_t wanted_threads(const DiffusionQuantConfig& config);

// As many of `num_threads` as there is memory for, at least one. Throws: Error(Configuration) if
// the limit does not do for one.
size_t threads_that_fit(const MemoryNeeds& needs, size_t num_threads, uint64_t limit_bytes);

}  // namespace arrow_quant
