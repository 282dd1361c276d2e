// Memory of this process, as the operating system counts it.
#pragma once

namespace arrow_quant {

// Peak resident memory since the process began, mapped pages included, in MiB.
double peak_memory_mb();

}  // namespace arrow_quant
