#include "arrow_quant/pipeline/run_memory.h"

#include <algorithm>

#include "arrow_quant/core/memory.h"
#include "arrow_quant/core/threads.h"

namespace arrow_quant {
namespace {

constexpr uint64_t kMaxSpareBytes = uint64_t{32} << 20;

uint64_t own_limit(const MemoryNeeds& needs, const DiffusionQuantConfig& config,
                   const RunHooks& hooks) {
  return hooks.shared != nullptr ? 0 : memory_limit_bytes(needs, config, available_memory_bytes());
}

size_t wanted_threads(const DiffusionQuantConfig& config, const RunHooks& hooks) {
  const size_t wanted =
      config.num_threads == 0 ? available_threads() : static_cast<size_t>(config.num_threads);
  return hooks.shared != nullptr ? std::min(wanted, hooks.shared->num_threads()) : wanted;
}

}  // namespace

RunMemory::RunMemory(const MemoryNeeds& needs, const DiffusionQuantConfig& config,
                     const RunHooks& hooks)
    : own_(own_limit(needs, config, hooks)),
      budget_(hooks.shared != nullptr ? hooks.shared->memory() : own_),
      num_threads_(threads_that_fit(needs, wanted_threads(config, hooks), budget_.limit_bytes())),
      spare_bytes_(
          std::min(kMaxSpareBytes, (budget_.limit_bytes() - needs.total_bytes(num_threads_)) / 4)),
      reservation_(budget_.reserve(needs.total_bytes(num_threads_) + spare_bytes_, hooks.cancel)) {}

}  // namespace arrow_quant
