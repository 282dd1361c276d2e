// ComponentRun: the conductor. Takes one component through quantization: tensors are read in file
// order, their chunks processed by all threads, and their blocks written in plan order, one part
// after the other, within a memory budget.
//
// Results depend on the plan alone. A chunk belongs to no thread; sums are added in chunk order;
// blocks wait for their turn.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/buffer_pool.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/core/memory_budget.h"
#include "arrow_quant/core/progress.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/part_writer.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/pipeline/shared_resources.h"
#include "arrow_quant/pipeline/source_stream.h"
#include "arrow_quant/pipeline/tensor_job.h"

namespace arrow_quant {

class ComponentRun {
 public:
  struct Context {
    const ModelDir* model = nullptr;
    const DiffusionQuantConfig* config = nullptr;
    std::string modality;
    std::filesystem::path output_dir;     // where the component's parts go; exists
    std::filesystem::path output_subdir;  // the same, relative to the output
    std::map<std::string, std::string> part_metadata;
    size_t num_threads = 1;
    uint64_t spare_bytes = 0;             // of buffers that are kept for reuse
    MemoryBudget* memory = nullptr;       // for blocks that wait; what one block needs is there
    SharedResources* shared = nullptr;    // may be null
    Calibration* calibration = nullptr;   // may be null
    const ComponentTime* time = nullptr;  // not null where there is a calibration
    Progress* progress = nullptr;
    const CancelToken* cancel = nullptr;  // may be null
    // After each part is in place, in order.
    std::function<void(const ComponentRecord&)> on_part;
  };

  ComponentRun(const PlannedComponent& plan, Context context);
  ~ComponentRun();

  // finished: the record of parts that stand from an earlier run; they are verified against the
  // source, and made again if it changed. Throws: Error.
  ComponentRecord run(ComponentRecord finished);

  // After run(): the source files with their hashes.
  std::vector<FileRecord> source_files() { return stream_->finish(context_.model->root); }
  bool used_finished_parts() const { return used_finished_parts_; }

 private:
  struct Running;  // a job with its counters
  struct Claim {
    Running* running = nullptr;
    size_t chunk = 0;
    bool streamed = false;
  };

  size_t skip_finished_parts(const ComponentRecord& finished);
  void read_through(const PlannedPart& part);
  void work();
  bool next_claim(std::unique_lock<std::mutex>& lock, Claim& claim);
  bool claim_repeated(Claim& claim);
  bool claim_streamed(Claim& claim);
  bool take_memory(Running& running, size_t block);
  void release_blocks(Running& running, size_t first_block, size_t num_blocks);
  void start_next_tensor();
  void process(const Claim& claim, InputReader& reader, TrialScratch& scratch);
  void finish_chunk(const Claim& claim);
  void conclude(Running& running);
  void write_ready(std::unique_lock<std::mutex>& lock);
  std::string finish_tensor(Running& running);
  void finish_part(std::unique_lock<std::mutex>& lock);
  bool all_written() const { return write_cursor_ == plan_.tensors.size(); }
  const SafetensorsFile& file_of(const PlannedTensor& tensor) const;
  size_t part_of(size_t tensor) const;

  const PlannedComponent& plan_;
  Context context_;
  TensorJob::Labels labels_;
  ActivationSource activation_;
  std::unique_ptr<SourceStream> stream_;
  bool used_finished_parts_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::exception_ptr error_;
  std::map<size_t, std::unique_ptr<Running>> running_;  // by tensor, up to the next to read
  std::deque<Running*> repeated_;                       // with chunks of a later pass to hand out
  size_t next_tensor_ = 0;                              // the next to start reading
  Running* streaming_ = nullptr;                        // the one being read
  bool stream_busy_ = false;
  Running* error_holder_ = nullptr;  // the one whose job has its error in memory
  uint64_t waiting_bytes_ = 0;       // of blocks that wait for their turn
  BufferPool pool_;
  std::map<size_t, std::string> part_digests_;

  size_t write_cursor_ = 0;  // the tensor whose blocks are written next
  bool writing_ = false;
  size_t current_part_ = 0;
  std::unique_ptr<PartWriter> writer_;
  std::vector<std::unique_ptr<Running>> deferred_;             // of the current part
  std::vector<std::pair<size_t, TensorRecord>> part_tensors_;  // by index into the plan
  std::vector<Promotion> part_promotions_;
  ComponentRecord record_;
};

}  // namespace arrow_quant
