#include "cli/interrupt.h"

#include <atomic>

namespace arrow_quant::cli {
namespace {

// A handler may touch lock-free atomics only.
std::atomic<CancelToken*> g_token = nullptr;
std::atomic<int> g_signal = 0;
static_assert(std::atomic<CancelToken*>::is_always_lock_free);
static_assert(std::atomic<int>::is_always_lock_free);
static_assert(std::atomic<bool>::is_always_lock_free);  // in CancelToken

void handle(int signal) {
  g_signal.store(signal);
  if (CancelToken* const token = g_token.load()) {
    token->cancel();
  }
}

}  // namespace

Interrupt::Interrupt(CancelToken& token) {
  g_token.store(&token);
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &previous_[i]);
    if (previous_[i].sa_handler == SIG_IGN) {
      continue;
    }
    struct sigaction action {};
    action.sa_handler = handle;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    sigaction(kSignals[i], &action, nullptr);
  }
}

Interrupt::~Interrupt() {
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], &previous_[i], nullptr);
  }
  g_token.store(nullptr);
}

int Interrupt::signal_received() {
  return g_signal.load();
}

}  // namespace arrow_quant::cli
