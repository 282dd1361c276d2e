// Memory of this process and of the machine, as the operating system counts it.
#pragma once

#include <cstdint>

namespace arrow_quant {

// Peak resident memory of this program, mapped pages included, in MiB (VmHWM of proc(5)). Unlike
// getrusage's figure it does not count the process that started it.
double peak_memory_mb();

// What this process may still take without swapping: the machine's available memory, or what the
// cgroup's limit leaves where that is less.
uint64_t available_memory_bytes();

}  // namespace arrow_quant
