// SourceStream: the bytes of a component's tensors, read once in file order and hashed on the way:
// a digest of each whole file for the manifest, and digests on the way for the journal.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/model_dir.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

class SourceStream {
 public:
  // The component must outlive the stream.
  explicit SourceStream(const ModelComponent& component);
  ~SourceStream();

  // The next bytes: of `tensor`, from `offset` within it, until the reader's next call. Calls come
  // in file order, and cover every byte of every tensor. Throws: Error(Io).
  std::span<const uint8_t> read(const PlannedTensor& tensor, uint64_t offset, uint64_t size_bytes,
                                InputReader& reader);

  // The digest of everything up to here: of the files that were read, and of the begun one.
  std::string digest_so_far() const;

  // The component's files with their sizes and hashes, once every tensor was read.
  std::vector<FileRecord> finish(const std::filesystem::path& root);

 private:
  void begin_shard(size_t shard);

  const ModelComponent& component_;
  std::unique_ptr<Xxh3_128> hash_;  // of the begun file
  size_t next_shard_ = 0;           // the shards before it have begun
  std::vector<std::string> digests_;
};

}  // namespace arrow_quant
