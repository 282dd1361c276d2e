// Threads: how many this process may use, and running one function on several of them.
#pragma once

#include <cstddef>
#include <functional>

namespace arrow_quant {

// The threads that affinity and cgroup CPU quotas leave to this process; at least 1.
size_t available_threads();

// Calls work(0) … work(num_threads − 1) at once, the first on the calling thread, and returns when
// all have returned. The first exception thrown is thrown again; the others are dropped.
void run_on_threads(size_t num_threads, const std::function<void(size_t)>& work);

}  // namespace arrow_quant
