#include "interruptible.h"

#include <chrono>
#include <future>
#include <optional>
#include <string_view>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/core/error.h"
#include "errors.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;

// How long a Ctrl-C may wait before it is seen.
constexpr std::chrono::milliseconds kSignalInterval{20};

// Why Python wants the work to stop: its first exception. Touched only under the GIL.
class Interruption {
 public:
  // token: cancelled when it happens; null: one of its own.
  explicit Interruption(CancelToken* token) : token_(token != nullptr ? *token : own_) {}

  const CancelToken& token() const { return token_; }
  bool happened() const { return error_.has_value(); }

  void set(nb::python_error&& error) {
    if (!error_) {
      error_.emplace(std::move(error));
    }
    token_.cancel();
  }
  void rethrow() { throw std::move(*error_); }

 private:
  std::optional<nb::python_error> error_;
  CancelToken own_;
  CancelToken& token_;
};

ProgressCallback forward_progress(nb::handle callback, Interruption& interruption) {
  if (callback.is_none()) {
    return {};
  }
  return [callback, &interruption](std::string_view message, double fraction) {
    const nb::gil_scoped_acquire acquired;
    if (!interruption.happened()) {
      try {
        callback(to_str(message), fraction);
        return;
      } catch (nb::python_error& error) {
        interruption.set(std::move(error));
      }
    }
    throw Error(ErrorCode::Cancelled, "the progress callback raised an exception");
  };
}

void look_for_signals(Interruption& interruption) {
  const nb::gil_scoped_acquire acquired;
  if (PyErr_CheckSignals() != 0) {
    interruption.set(nb::python_error());
  }
}

}  // namespace

void run_interruptible(const Companions& companions,
                       const std::function<void(const RunHooks&)>& work) {
  const nb::handle progress_callback = companions.progress_callback;
  if (!progress_callback.is_none() && !PyCallable_Check(progress_callback.ptr())) {
    throw nb::type_error("progress_callback must be None or callable as (message, fraction)");
  }
  Interruption interruption(companions.cancel);
  const RunHooks hooks{.progress = forward_progress(progress_callback, interruption),
                       .cancel = &interruption.token(),
                       .shared = companions.shared};
  std::future<void> result;
  {
    const nb::gil_scoped_release released;
    result = std::async(std::launch::async, [&] { work(hooks); });
    while (result.wait_for(kSignalInterval) != std::future_status::ready) {
      look_for_signals(interruption);
    }
  }
  if (interruption.happened()) {
    interruption.rethrow();
  }
  result.get();
}

}  // namespace arrow_quant::python
