// Interrupt: turns SIGINT, SIGTERM and SIGHUP into a request to stop cleanly, for as long as it
// lives. A second signal ends the process at once. A signal that was ignored stays so.
#pragma once

#include <csignal>

#include "arrow_quant/core/cancel.h"

namespace arrow_quant::cli {

class Interrupt {
 public:
  // token: outlives the Interrupt. There is at most one at a time.
  explicit Interrupt(CancelToken& token);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // The signal that came last; 0 if none did. Stays known afterwards.
  static int signal_received();

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction previous_[3];
};

}  // namespace arrow_quant::cli
