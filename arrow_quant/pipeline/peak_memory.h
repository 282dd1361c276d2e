// Memory of this process, as the operating system counts it.
#pragma once

namespace arrow_quant {

// Peak resident memory of this program, mapped pages included, in MiB (VmHWM of proc(5)). Unlike
// getrusage's figure it does not count the process that started it.
double peak_memory_mb();

}  // namespace arrow_quant
