#include "arrow_quant/core/log.h"

#include <memory>
#include <mutex>
#include <utility>

namespace arrow_quant {
namespace {

struct Held {
  std::mutex mutex;
  std::shared_ptr<const LogSink> sink;
};

// Never destroyed: threads may log while the process ends.
Held& held() {
  static Held* const instance = new Held;
  return *instance;
}

}  // namespace

void set_log_sink(LogSink sink) {
  auto next = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  const std::lock_guard lock(held().mutex);
  held().sink.swap(next);
}

void log(LogLevel level, std::string_view message) {
  std::shared_ptr<const LogSink> sink;
  {
    const std::lock_guard lock(held().mutex);
    sink = held().sink;
  }
  if (sink) {
    (*sink)(level, message);
  }
}

}  // namespace arrow_quant
