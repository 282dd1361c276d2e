// What the library has to say beside its results and errors: one replaceable sink takes it. Without
// one nothing is said; the library never prints.
#pragma once

#include <functional>
#include <string_view>

namespace arrow_quant {

enum class LogLevel {
  Debug,    // each part file
  Info,     // each run, and layers that got more bits than asked
  Warning,  // what a user should look at; also in the result
};

// Called from any thread, several at once.
using LogSink = std::function<void(LogLevel, std::string_view message)>;

// Replaces the sink; an empty one says nothing. The sink before may still be at work in another
// thread when this returns.
void set_log_sink(LogSink sink);

void log(LogLevel level, std::string_view message);

}  // namespace arrow_quant
