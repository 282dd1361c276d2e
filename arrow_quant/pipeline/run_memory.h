// RunMemory: the threads and the memory that a run works with: its own, or its part of what is
// shared. What the run needs at least is reserved for its life.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/memory_budget.h"
#include "arrow_quant/pipeline/memory_needs.h"
#include "arrow_quant/pipeline/orchestrator.h"

namespace arrow_quant {

class RunMemory {
 public:
  // Waits for what the run needs at least. Throws: Error(Configuration), Error(Cancelled).
  RunMemory(const MemoryNeeds& needs, const DiffusionQuantConfig& config, const RunHooks& hooks);

  size_t num_threads() const { return num_threads_; }
  // For buffers that are kept for reuse; reserved.
  uint64_t spare_bytes() const { return spare_bytes_; }
  // For blocks that wait.
  MemoryBudget& budget() { return budget_; }

 private:
  MemoryBudget own_;
  MemoryBudget& budget_;
  size_t num_threads_;
  uint64_t spare_bytes_;
  MemoryBudget::Reservation reservation_;
};

}  // namespace arrow_quant
