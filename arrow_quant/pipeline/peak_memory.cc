#include "arrow_quant/pipeline/peak_memory.h"

#include <sys/resource.h>

#include <fstream>
#include <string>

namespace arrow_quant {

double peak_memory_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (double kibibytes; word == "VmHWM:" && status >> kibibytes) {
      return kibibytes / 1024.0;
    }
  }
  rusage usage{};  // no /proc: the next best
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;  // kilobytes on Linux
}

}  // namespace arrow_quant
