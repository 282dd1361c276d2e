#include "arrow_quant/pipeline/peak_memory.h"

#include <sys/resource.h>

namespace arrow_quant {

double peak_memory_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;  // kilobytes on Linux
}

}  // namespace arrow_quant
