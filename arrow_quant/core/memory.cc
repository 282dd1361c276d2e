#include "arrow_quant/core/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace arrow_quant {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// The number that follows `word` in a file of words and numbers; the first one if word is empty.
std::optional<uint64_t> number_after(std::string_view word, const char* path) {
  std::ifstream file(path);
  uint64_t number = 0;
  std::string found;
  while (!word.empty() && found != word && file >> found) {
  }
  return file >> number ? std::optional(number) : std::nullopt;
}

// Page cache is left out of what is used: it gives way.
uint64_t cgroup_bytes_left() {
  struct Files {
    const char* limit;
    const char* statistics;
    const char* used;
  };
  for (const Files& files :
       {Files{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon"},
        Files{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.stat",
              "total_rss"}}) {
    const auto limit = number_after("", files.limit);
    const auto used = number_after(files.used, files.statistics);
    if (limit && used) {
      return *limit - std::min(*limit, *used);
    }
  }
  return kUnlimited;
}

uint64_t machine_bytes_left() {
  const auto kibibytes = number_after("MemAvailable:", "/proc/meminfo");
  return kibibytes ? *kibibytes * 1024 : kUnlimited;
}

}  // namespace

uint64_t available_memory_bytes() {
  return std::min(machine_bytes_left(), cgroup_bytes_left());
}

double peak_memory_mb() {
  if (const auto kibibytes = number_after("VmHWM:", "/proc/self/status")) {
    return static_cast<double>(*kibibytes) / 1024.0;
  }
  rusage usage{};  // no /proc: the next best
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024.0;  // kilobytes on Linux
}

}  // namespace arrow_quant
