#include "arrow_quant/pipeline/measure_layers.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

#include "arrow_quant/core/threads.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/pipeline/width_probe.h"

namespace arrow_quant {
namespace {

std::vector<BitWidth> widths_of(const LayerProbe& probe, bool only_digest) {
  std::vector<BitWidth> widths;
  if (only_digest) {
    return widths;
  }
  for (const BitWidth width : {BitWidth::Int2, BitWidth::Int4, BitWidth::Int8}) {
    if (probe.narrowest && width >= *probe.narrowest) {
      widths.push_back(width);
    }
  }
  return widths;
}

// The layers in order, the widths of one layer after each other while its bytes are in the page
// cache; the chunks of a width by all threads. Results belong to a chunk, never to a thread.
class Measuring {
 public:
  Measuring(std::span<const LayerProbe> probes, const MeasureContext& context)
      : context_(context), layers_(probes.size()), hashes_(probes.size()) {
    for (size_t i = 0; i < probes.size(); ++i) {
      std::vector<BitWidth> widths = widths_of(probes[i], context.only_digest);
      layers_[i].widths.resize(widths.size());
      tasks_.push_back({&probes[i], i, 0, std::nullopt});
      for (size_t w = 0; w < widths.size(); ++w) {
        if (w > 0) {
          tasks_.push_back({&probes[i], i, w, std::nullopt});
        }
        tasks_.back().width = widths[w];
      }
    }
  }

  Measurement run() {
    run_on_threads(context_.num_threads, [this](size_t) { work(); });
    if (error_) {
      std::rethrow_exception(error_);
    }
    Xxh3_128 digest;
    for (const std::vector<uint64_t>& hashes : hashes_) {
      digest.update({reinterpret_cast<const uint8_t*>(hashes.data()), hashes.size() * 8});
    }
    for (LayerMeasure& layer : layers_) {
      if (!layer.non_finite.empty()) {
        layer.widths.clear();
      }
    }
    return {std::move(layers_), digest.hex_digest()};
  }

 private:
  struct Task {
    const LayerProbe* probe;
    size_t layer;
    size_t slot;  // of the layer's widths
    std::optional<BitWidth> width;
  };
  struct Running {
    Task task;
    WidthProbe probe;
    size_t next_chunk = 0;
    size_t chunks_left = 0;
    bool again = false;  // a later pass, which is no progress
  };
  struct Claim {
    std::shared_ptr<Running> running;
    size_t chunk = 0;
  };

  void work();
  bool next_claim(std::unique_lock<std::mutex>& lock, Claim& claim);
  void process(const Claim& claim, InputReader& reader, QuantizeScratch& scratch);
  std::string finish_chunk(const Claim& claim);
  std::string record(const Running& running);

  const MeasureContext& context_;
  std::vector<Task> tasks_;
  std::vector<LayerMeasure> layers_;
  std::vector<std::vector<uint64_t>> hashes_;  // of each layer's chunks

  std::mutex mutex_;
  std::condition_variable changed_;
  std::exception_ptr error_;
  size_t next_task_ = 0;
  size_t num_unfinished_ = 0;
  std::deque<std::shared_ptr<Running>> open_;  // with chunks to hand out
};

void Measuring::work() {
  InputReader reader;
  QuantizeScratch scratch;
  std::unique_lock lock(mutex_);
  try {
    Claim claim;
    while (next_claim(lock, claim)) {
      lock.unlock();
      process(claim, reader, scratch);
      lock.lock();
      if (const std::string message = finish_chunk(claim); !message.empty()) {
        lock.unlock();
        context_.progress->message(message);
        lock.lock();
      }
    }
  } catch (...) {
    if (!lock.owns_lock()) {
      lock.lock();
    }
    if (!error_) {
      error_ = std::current_exception();
    }
    changed_.notify_all();
  }
}

// False when all is measured or the run has failed.
bool Measuring::next_claim(std::unique_lock<std::mutex>& lock, Claim& claim) {
  while (!error_) {
    if (open_.empty() && next_task_ < tasks_.size()) {
      const Task& task = tasks_[next_task_++];
      open_.push_back(std::make_shared<Running>(
          task, WidthProbe(*task.probe, task.width, task.slot == 0, *context_.config)));
      open_.back()->chunks_left = open_.back()->probe.chunks().size();
      ++num_unfinished_;
    }
    if (!open_.empty()) {
      claim = {open_.front(), open_.front()->next_chunk++};
      if (claim.chunk + 1 == claim.running->probe.chunks().size()) {
        open_.pop_front();
      }
      return true;
    }
    if (num_unfinished_ == 0) {
      return false;
    }
    changed_.wait(lock);  // one that is being finished may have to be measured again
  }
  return false;
}

void Measuring::process(const Claim& claim, InputReader& reader, QuantizeScratch& scratch) {
  check_cancelled(context_.cancel);
  const SharedResources::Turn turn(context_.shared, context_.cancel);
  Running& running = *claim.running;
  const LayerProbe& layer = *running.task.probe;
  const Chunk& chunk = running.probe.chunks()[claim.chunk];
  const auto source =
      layer.file->read(*layer.tensor->info, chunk.source_offset, chunk.source_bytes, reader);
  running.probe.process(claim.chunk, source, scratch);
  if (!running.again) {
    context_.progress->add(chunk.source_bytes);
  }
}

// Returns what to tell the caller; often nothing.
std::string Measuring::finish_chunk(const Claim& claim) {
  Running& running = *claim.running;
  if (--running.chunks_left > 0) {
    return "";
  }
  changed_.notify_all();
  if (running.task.slot == 0 && !running.again) {
    hashes_[running.task.layer] = running.probe.chunk_hashes();
  }
  if (running.probe.conclude()) {
    running.again = true;
    running.next_chunk = 0;
    running.chunks_left = running.probe.chunks().size();
    open_.push_front(claim.running);
    return "";
  }
  --num_unfinished_;
  return record(running);
}

std::string Measuring::record(const Running& running) {
  const Task& task = running.task;
  if (!task.width) {
    return "";
  }
  LayerMeasure& layer = layers_[task.layer];
  layer.non_finite = running.probe.why_kept();
  if (!layer.non_finite.empty()) {
    return "";
  }
  layer.widths[task.slot] = running.probe.measure();
  const bool is_last = task.slot + 1 == layer.widths.size();
  return is_last ? task.probe->tensor->info->name + " measured" : "";
}

}  // namespace

Measurement measure_layers(std::span<const LayerProbe> probes, const MeasureContext& context) {
  return Measuring(probes, context).run();
}

uint64_t measured_bytes(std::span<const LayerProbe> probes, bool only_digest) {
  uint64_t bytes = 0;
  for (const LayerProbe& probe : probes) {
    bytes +=
        probe.tensor->info->size_bytes * std::max<size_t>(1, widths_of(probe, only_digest).size());
  }
  return bytes;
}

}  // namespace arrow_quant
