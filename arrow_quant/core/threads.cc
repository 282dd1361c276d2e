#include "arrow_quant/core/threads.h"

#include <sched.h>

#include <algorithm>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace arrow_quant {
namespace {

size_t affinity_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return static_cast<size_t>(CPU_COUNT(&set));
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

// The whole CPUs that the cgroup's quota grants; 0 where there is no quota.
size_t quota_threads() {
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period) {
    if (quota == "max" || period <= 0) {
      return 0;
    }
    return static_cast<size_t>(std::max(1.0, std::stod(quota) / period));
  }
  double quota_us = -1;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota_us;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  return quota_us > 0 && period > 0 ? static_cast<size_t>(std::max(1.0, quota_us / period)) : 0;
}

}  // namespace

size_t available_threads() {
  const size_t quota = quota_threads();
  const size_t affinity = affinity_threads();
  return std::max<size_t>(1, quota == 0 ? affinity : std::min(affinity, quota));
}

void run_on_threads(size_t num_threads, const std::function<void(size_t)>& work) {
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto guarded = [&](size_t index) {
    try {
      work(index);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!first_error) {
        first_error = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(num_threads);
    for (size_t index = 1; index < num_threads; ++index) {
      others.emplace_back(guarded, index);
    }
    guarded(0);
  }
  if (first_error) {
    std::rethrow_exception(first_error);
  }
}

}  // namespace arrow_quant
