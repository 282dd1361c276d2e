#include "arrow_quant/pipeline/run_memory.h"

#include <algorithm>

#include "arrow_quant/core/memory.h"

namespace arrow_quant {
namespace {

constexpr uint64_t kMaxSpareBytes = uint64_t{32} << 20;

// The least that the run can work with is tried in any case where nothing else is asked.
uint64_t own_limit(const MemoryNeeds& needs, const DiffusionQuantConfig& config) {
  const uint64_t limit = memory_limit_bytes(config, available_memory_bytes());
  return config.enable_streaming ? limit : std::max(limit, needs.total_bytes(1));
}

size_t threads_of(const DiffusionQuantConfig& config, const RunHooks& hooks) {
  const size_t wanted = wanted_threads(config);
  return hooks.shared != nullptr ? std::min(wanted, hooks.shared->num_threads()) : wanted;
}

}  // namespace

RunMemory::RunMemory(const MemoryNeeds& needs, const DiffusionQuantConfig& config,
                     const RunHooks& hooks)
    : own_(hooks.shared != nullptr ? 0 : own_limit(needs, config)),
      budget_(hooks.shared != nullptr ? hooks.shared->memory() : own_),
      num_threads_(threads_that_fit(needs, threads_of(config, hooks), budget_.limit_bytes())),
      spare_bytes_(
          std::min(kMaxSpareBytes, (budget_.limit_bytes() - needs.total_bytes(num_threads_)) / 4)),
      reservation_(budget_.reserve(needs.total_bytes(num_threads_) + spare_bytes_, hooks.cancel)) {}

}  // namespace arrow_quant
