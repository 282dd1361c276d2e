#include "arrow_quant/pipeline/component_run.h"

#include <algorithm>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/core/log.h"
#include "arrow_quant/core/threads.h"
#include "arrow_quant/io/part_format.h"

namespace arrow_quant {
namespace {

// No more is gained by blocks that wait to be written.
constexpr uint64_t kMaxWaitingBytes = uint64_t{80} << 20;
constexpr size_t kReadThroughBytes = size_t{4} << 20;

}  // namespace

struct ComponentRun::Running {
  Running(size_t tensor_index, TensorJob started) : index(tensor_index), job(std::move(started)) {
    begin_pass();
  }

  void begin_pass() {
    next_chunk = 0;
    chunks_left = job.chunks().size();
    block_chunks_left.assign(job.num_blocks(), 0);
    for (const Chunk& chunk : job.chunks()) {
      ++block_chunks_left[chunk.block];
    }
    charged_bytes.assign(job.num_blocks(), 0);
    next_block = 0;
    blocks_in_memory = 0;
  }

  // The next block can be written: its chunks are processed and it will not be made again.
  bool block_ready() const {
    return next_block < block_chunks_left.size() && block_chunks_left[next_block] == 0 &&
           job.blocks_stand() && !job.deferred();
  }

  size_t index;
  TensorJob job;
  size_t next_chunk = 0;
  size_t chunks_left = 0;
  std::vector<size_t> block_chunks_left;
  size_t next_block = 0;  // to write
  size_t blocks_in_memory = 0;
  std::vector<uint64_t> charged_bytes;  // of each block, to the budget
  bool concluded = false;
};

ComponentRun::ComponentRun(const PlannedComponent& plan, Context context)
    : plan_(plan),
      context_(std::move(context)),
      labels_{plan.source->name, context_.modality, plan.source},
      stream_(std::make_unique<SourceStream>(*plan.source)),
      pool_(context_.spare_bytes) {
  record_.name = plan.source->name;
  record_.subdir = plan.source->subdir.string();
  record_.class_name = plan.source->class_name;
  if (context_.calibration != nullptr) {
    activation_ = {&plan, context_.time, &context_.calibration->file(), context_.cancel};
    record_.time_groups = context_.time->record;
  }
  if (record_.time_groups) {
    context_.part_metadata[std::string(kTimeGroupsKey)] = to_json(*record_.time_groups);
  }
}

ComponentRun::~ComponentRun() {
  context_.memory->give(waiting_bytes_);
}

ComponentRecord ComponentRun::run(ComponentRecord finished) {
  size_t parts = skip_finished_parts(finished);
  finished.parts.resize(parts);
  record_.parts = std::move(finished.parts);
  used_finished_parts_ = parts > 0;
  current_part_ = parts;
  next_tensor_ =
      parts == plan_.parts.size() ? plan_.tensors.size() : plan_.parts[parts].first_tensor;
  write_cursor_ = next_tensor_;
  run_on_threads(context_.num_threads, [this](size_t) { work(); });
  if (error_) {
    writer_.reset();
    std::rethrow_exception(error_);
  }
  return std::move(record_);
}

// Reads the source of the finished parts (its hash is wanted anyway) and returns how many of them
// were made from these bytes: all, or none.
size_t ComponentRun::skip_finished_parts(const ComponentRecord& finished) {
  for (size_t part = 0; part < finished.parts.size(); ++part) {
    read_through(plan_.parts[part]);
    if (stream_->digest_so_far() != finished.parts[part].source_digest) {
      stream_ = std::make_unique<SourceStream>(*plan_.source);
      return 0;
    }
  }
  return finished.parts.size();
}

void ComponentRun::read_through(const PlannedPart& part) {
  InputReader reader;
  for (size_t i = part.first_tensor; i < part.first_tensor + part.num_tensors; ++i) {
    const PlannedTensor& tensor = plan_.tensors[i];
    for (uint64_t offset = 0; offset < tensor.info->size_bytes; offset += kReadThroughBytes) {
      check_cancelled(context_.cancel);
      const uint64_t size = std::min<uint64_t>(kReadThroughBytes, tensor.info->size_bytes - offset);
      stream_->read(tensor, offset, size, reader);
      context_.progress->add(size);
    }
  }
}

void ComponentRun::work() {
  InputReader reader;
  TrialScratch scratch;
  std::unique_lock lock(mutex_);
  try {
    Claim claim;
    while (next_claim(lock, claim)) {
      lock.unlock();
      check_cancelled(context_.cancel);
      const SharedResources::Turn turn(context_.shared, context_.cancel);
      process(claim, reader, scratch);
      lock.lock();
      finish_chunk(claim);
      write_ready(lock);
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

// Waits for a chunk to process. False when everything is written or the run has failed.
bool ComponentRun::next_claim(std::unique_lock<std::mutex>& lock, Claim& claim) {
  while (true) {
    if (error_ || all_written()) {
      changed_.notify_all();
      return false;
    }
    if (claim_repeated(claim) || claim_streamed(claim)) {
      return true;
    }
    changed_.wait(lock);
  }
}

bool ComponentRun::claim_repeated(Claim& claim) {
  for (Running* running : repeated_) {
    const size_t block = running->job.chunks()[running->next_chunk].block;
    if (!take_memory(*running, block)) {
      continue;
    }
    claim = {running, running->next_chunk++, false};
    if (running->next_chunk == running->job.chunks().size()) {
      std::erase(repeated_, running);
    }
    return true;
  }
  return false;
}

bool ComponentRun::claim_streamed(Claim& claim) {
  if (stream_busy_ || (streaming_ == nullptr && next_tensor_ == plan_.tensors.size())) {
    return false;
  }
  if (streaming_ == nullptr) {
    const bool queue = std::any_of(repeated_.begin(), repeated_.end(), [&](Running* running) {
      return running->job.needs_error() && running != error_holder_;
    });
    if (queue) {
      return false;  // their calibration data are in memory
    }
    start_next_tensor();
  }
  Running& running = *streaming_;
  const size_t block = running.job.chunks()[running.next_chunk].block;
  if (!take_memory(running, block)) {
    return false;
  }
  claim = {&running, running.next_chunk++, true};
  stream_busy_ = true;
  return true;
}

void ComponentRun::start_next_tensor() {
  const size_t index = next_tensor_++;
  const PlannedTensor& tensor = plan_.tensors[index];
  const bool covered = context_.calibration && context_.calibration->covers(plan_, tensor);
  auto running = std::make_unique<Running>(
      index, TensorJob(tensor, *context_.config, labels_, covered ? context_.calibration : nullptr,
                       covered ? &activation_ : nullptr));
  streaming_ = running.get();
  running_.emplace(index, std::move(running));
}

// Memory for a block, if it needs some. The tensor that is written next may always have one block,
// or nothing would ever get free; the run's reservation covers it.
bool ComponentRun::take_memory(Running& running, size_t block) {
  if (running.job.needs_error() && error_holder_ != &running) {
    if (error_holder_ != nullptr) {
      return false;
    }
    error_holder_ = &running;
    running.job.allocate_error();
  }
  if (!running.job.needs_buffer(block)) {
    return true;
  }
  const bool first_in_line = running.index == write_cursor_ && running.blocks_in_memory == 0;
  if (!first_in_line) {
    const uint64_t bytes = running.job.block_bytes(block);
    if (waiting_bytes_ + bytes > kMaxWaitingBytes || !context_.memory->try_take(bytes)) {
      return false;
    }
    waiting_bytes_ += bytes;
    running.charged_bytes[block] = bytes;
  }
  running.job.allocate_block(block, pool_);
  ++running.blocks_in_memory;
  return true;
}

// Gives back what the tensor was charged for these blocks.
void ComponentRun::release_blocks(Running& running, size_t first_block, size_t num_blocks) {
  for (size_t block = first_block; block < first_block + num_blocks; ++block) {
    const uint64_t bytes = std::exchange(running.charged_bytes[block], 0);
    waiting_bytes_ -= bytes;
    context_.memory->give(bytes);
  }
}

void ComponentRun::process(const Claim& claim, InputReader& reader, TrialScratch& scratch) {
  TensorJob& job = claim.running->job;
  const PlannedTensor& tensor = job.tensor();
  const Chunk& chunk = job.chunks()[claim.chunk];
  if (!claim.streamed) {
    const auto source =
        file_of(tensor).read(*tensor.info, chunk.source_offset, chunk.source_bytes, reader);
    job.process(claim.chunk, source, scratch);
    return;
  }
  const auto source = stream_->read(tensor, chunk.source_offset, chunk.source_bytes, reader);
  {
    std::lock_guard lock(mutex_);
    stream_busy_ = false;
    if (claim.chunk + 1 == job.chunks().size()) {
      streaming_ = nullptr;
      const size_t part = part_of(claim.running->index);
      if (next_tensor_ == plan_.parts[part].first_tensor + plan_.parts[part].num_tensors) {
        part_digests_[part] = stream_->digest_so_far();
      }
    }
  }
  changed_.notify_all();
  job.process(claim.chunk, source, scratch);
  context_.progress->add(chunk.source_bytes);
}

void ComponentRun::finish_chunk(const Claim& claim) {
  Running& running = *claim.running;
  --running.block_chunks_left[running.job.chunks()[claim.chunk].block];
  if (--running.chunks_left == 0) {
    conclude(running);
  }
}

void ComponentRun::conclude(Running& running) {
  const TensorJob::Next next = running.job.conclude();
  if (error_holder_ == &running && !running.job.needs_error()) {
    error_holder_ = nullptr;
    changed_.notify_all();
  }
  if (next == TensorJob::Next::Write) {
    running.concluded = true;
    return;
  }
  release_blocks(running, 0, running.charged_bytes.size());
  running.begin_pass();
  repeated_.push_back(&running);
  changed_.notify_all();
}

// Writes what is next in plan order for as long as it is there; one thread at a time.
void ComponentRun::write_ready(std::unique_lock<std::mutex>& lock) {
  if (writing_) {
    return;
  }
  writing_ = true;
  while (!all_written() && !error_) {
    const auto found = running_.find(write_cursor_);
    if (found == running_.end()) {
      break;
    }
    Running& running = *found->second;
    if (running.block_ready()) {
      QuantizedBlock block = running.job.take_block(running.next_block);
      lock.unlock();
      if (!writer_) {
        writer_ =
            std::make_unique<PartWriter>(context_.output_dir / plan_.parts[current_part_].file_name,
                                         context_.part_metadata, context_.cancel);
      }
      writer_->append(std::move(block));
      lock.lock();
      for (Buffer* const buffer : {&block.data, &block.scales, &block.offsets}) {
        pool_.give(std::move(*buffer));
      }
      release_blocks(running, running.next_block, 1);
      ++running.next_block;
      --running.blocks_in_memory;
      changed_.notify_all();
    } else if (running.concluded &&
               (running.job.deferred() || running.next_block == running.job.num_blocks())) {
      const bool promoted = running.job.promotion().has_value();
      const std::string message = finish_tensor(running);
      lock.unlock();
      if (promoted) {
        log(LogLevel::Info, message);
      }
      context_.progress->message(message);
      lock.lock();
      const PlannedPart& part = plan_.parts[current_part_];
      if (write_cursor_ == part.first_tensor + part.num_tensors) {
        finish_part(lock);
      }
    } else {
      break;
    }
  }
  writing_ = false;
  changed_.notify_all();
}

// Records the tensor and lets go of it; returns what to tell the caller of it.
std::string ComponentRun::finish_tensor(Running& running) {
  TensorRecord record;
  record.report = running.job.report();
  record.part = static_cast<int32_t>(current_part_);
  const LayerReport& report = record.report;
  std::string message = report.name;
  message += report.quant_type == "none" ? " kept" : " → " + report.quant_type;
  message += report.reason.empty() ? "" : ": " + report.reason;
  part_tensors_.emplace_back(running.index, std::move(record));
  if (running.job.promotion()) {
    part_promotions_.push_back(*running.job.promotion());
  }
  auto node = running_.extract(running.index);
  if (running.job.deferred()) {
    deferred_.push_back(std::move(node.mapped()));
  }
  ++write_cursor_;
  return message;
}

// Appends the small kept tensors, closes the file and records it.
void ComponentRun::finish_part(std::unique_lock<std::mutex>& lock) {
  const std::string digest = part_digests_.at(current_part_);
  lock.unlock();
  const std::string& name = plan_.parts[current_part_].file_name;
  if (!writer_) {
    writer_ = std::make_unique<PartWriter>(context_.output_dir / name, context_.part_metadata,
                                           context_.cancel);
  }
  for (const auto& running : deferred_) {
    check_cancelled(context_.cancel);
    writer_->append(running->job.read_deferred_block(file_of(running->job.tensor()).file()));
  }
  const PartInfo info = writer_->finish();
  writer_.reset();
  deferred_.clear();

  std::map<std::string, TensorRecord*> by_name;
  for (auto& [index, tensor] : part_tensors_) {
    by_name[tensor.report.name] = &tensor;
  }
  for (const BlockLocation& block : info.blocks) {
    TensorRecord& tensor = *by_name.at(block.layer_name);
    tensor.blocks.push_back({block.row_group, block.row});
    tensor.report.stored_bytes += block.stored_bytes;
    if (block.block_index == 0) {
      tensor.report.extras = block.extras;
    }
  }
  PartRecord part;
  part.file = {(context_.output_subdir / name).string(), info.size_bytes, info.xxh3_128};
  part.source_digest = digest;
  for (auto& [index, tensor] : part_tensors_) {
    part.tensors.push_back(std::move(tensor));
  }
  part.promotions = std::exchange(part_promotions_, {});
  part_tensors_.clear();
  log(LogLevel::Debug, "wrote " + part.file.path);
  record_.parts.push_back(std::move(part));
  context_.on_part(record_);
  lock.lock();
  ++current_part_;
}

const SafetensorsFile& ComponentRun::file_of(const PlannedTensor& tensor) const {
  return plan_.source->shards[tensor.shard];
}

size_t ComponentRun::part_of(size_t tensor) const {
  const auto after = std::upper_bound(
      plan_.parts.begin(), plan_.parts.end(), tensor,
      [](size_t index, const PlannedPart& part) { return index < part.first_tensor; });
  return static_cast<size_t>(after - plan_.parts.begin()) - 1;
}

}  // namespace arrow_quant
