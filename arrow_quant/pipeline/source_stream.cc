#include "arrow_quant/pipeline/source_stream.h"

#include "arrow_quant/core/buffer.h"

namespace arrow_quant {

SourceStream::SourceStream(const ModelComponent& component)
    : component_(component), hash_(std::make_unique<Xxh3_128>()) {}

SourceStream::~SourceStream() = default;

void SourceStream::begin_shard(size_t shard) {
  // Files without a tensor pass by on the way.
  for (; next_shard_ <= shard; ++next_shard_) {
    if (next_shard_ > 0) {
      digests_.push_back(hash_->hex_digest());
    }
    *hash_ = Xxh3_128();
    const SafetensorsFile& file = component_.shards[next_shard_];
    Buffer header(file.data_begin());
    file.file().read_at(0, header.bytes());
    hash_->update(header.bytes());
  }
}

std::span<const uint8_t> SourceStream::read(const PlannedTensor& tensor, uint64_t offset,
                                            uint64_t size_bytes, InputReader& reader) {
  if (tensor.shard >= next_shard_) {
    begin_shard(tensor.shard);
  }
  const std::span<const uint8_t> bytes =
      component_.shards[tensor.shard].read(*tensor.info, offset, size_bytes, reader);
  hash_->update(bytes);
  return bytes;
}

std::string SourceStream::digest_so_far() const {
  Xxh3_128 all;
  for (const std::string& digest : digests_) {
    all.update({reinterpret_cast<const uint8_t*>(digest.data()), digest.size()});
  }
  const std::string begun = hash_->hex_digest();
  all.update({reinterpret_cast<const uint8_t*>(begun.data()), begun.size()});
  return all.hex_digest();
}

std::vector<FileRecord> SourceStream::finish(const std::filesystem::path& root) {
  if (!component_.shards.empty()) {
    begin_shard(component_.shards.size() - 1);
    digests_.push_back(hash_->hex_digest());
  }
  std::vector<FileRecord> records;
  for (size_t i = 0; i < component_.shards.size(); ++i) {
    const SafetensorsFile& shard = component_.shards[i];
    const std::filesystem::path relative =
        shard.path() == root ? root.filename() : shard.path().lexically_relative(root);
    records.push_back({relative.string(), shard.file().size_bytes(), digests_[i]});
  }
  return records;
}

}  // namespace arrow_quant
