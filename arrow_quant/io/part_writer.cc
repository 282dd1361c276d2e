#include "arrow_quant/io/part_writer.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <set>
#include <utility>

#include <arrow/util/key_value_metadata.h>
#include <parquet/exception.h>
#include <parquet/file_writer.h>
#include <nlohmann/json.hpp>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_checks.h"
#include "arrow_quant/io/parquet_schema.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/part_sink.h"
#include "arrow_quant/io/row_group_writer.h"

namespace arrow_quant {
namespace {

constexpr std::string_view kMagic = "PAR1";

bool shares_row_group(const QuantizedBlock& block) {
  return !block.header.quantized && block.data_size_bytes < kSharedBlockBytes;
}

// A file that no reader takes is not written.
void check_extras(const BlockHeader& header, const std::filesystem::path& path) {
  if (header.extras == BlockExtras()) {
    return;
  }
  const std::optional<MatrixView> view = matrix_view(header.shape);
  const int64_t cols = view ? view->cols : 0;
  std::string problem =
      extras_problem(header.extras, header.quantized, header.block_index, header.row_count, cols);
  if (problem.empty()) {
    problem = extras_array_problem(header.extras, header.block_index, header.row_count, cols);
  }
  if (!problem.empty()) {
    throw Error(ErrorCode::Metadata, path.string() + ": tensor '" + header.layer_name +
                                         "' of shape " + shape_text(header.shape) + ", block " +
                                         std::to_string(header.block_index) + ": " + problem);
  }
}

}  // namespace

struct PartWriter::Impl {
  std::shared_ptr<PartSink> sink;
  std::map<std::string, std::string> metadata;
  std::unique_ptr<parquet::FileMetaDataBuilder> file;
  int32_t num_row_groups = 0;
  std::vector<QuantizedBlock> gathered;  // small kept blocks, of a row group to come
  std::vector<std::pair<int32_t, std::unique_ptr<parquet::OffsetIndexBuilder>>> data_pages;
  std::set<std::string> features;  // that the blocks require
  PartInfo info;
  bool broken = false;  // a write failed: what is in the file is of no use

  template <class F>
  void guard(F write);
  void write_group(std::span<QuantizedBlock> blocks);
  void write_gathered();
  void write_offset_indexes();
  void write_footer();
};

// Runs `write`, whose failure breaks the part, and turns what Parquet throws into Error.
template <class F>
void PartWriter::Impl::guard(F write) {
  if (std::exchange(broken, true)) {
    throw Error(ErrorCode::Io,
                "cannot write " + sink->path().string() + ": an earlier write failed", sink->path(),
                0);
  }
  try {
    write();
  } catch (const parquet::ParquetException& error) {
    if (sink->failure()) {
      std::rethrow_exception(sink->failure());
    }
    throw Error(ErrorCode::Io, "cannot write " + sink->path().string() + ": " + error.what(),
                sink->path(), 0);
  }
  broken = false;
}

void PartWriter::Impl::write_group(std::span<QuantizedBlock> blocks) {
  WrittenRowGroup written = write_row_group(blocks, *file->AppendRowGroup(), sink);
  for (size_t row = 0; row < blocks.size(); ++row) {
    const QuantizedBlock& block = blocks[row];
    info.blocks.push_back({
        .layer_name = block.header.layer_name,
        .block_index = block.header.block_index,
        .row_group = num_row_groups,
        .row = static_cast<int64_t>(row),
        .stored_bytes = static_cast<int64_t>(block.data_size_bytes) + written.param_bytes,
        .extras = layer_extras(block.header.extras),
    });
  }
  if (written.data_pages) {
    data_pages.emplace_back(num_row_groups, std::move(written.data_pages));
  }
  ++num_row_groups;
}

void PartWriter::Impl::write_gathered() {
  if (!gathered.empty()) {
    write_group(gathered);
    gathered.clear();
  }
}

void PartWriter::Impl::write_offset_indexes() {
  parquet::IndexLocations locations;
  const int32_t data_leaf = find_leaf(part_schema(), "data");
  for (const auto& [row_group, pages] : data_pages) {
    const int64_t begin = sink->size_bytes();
    pages->WriteTo(sink.get());
    const auto size_bytes = static_cast<int32_t>(sink->size_bytes() - begin);
    locations.emplace_back(parquet::ColumnChunkId{row_group, data_leaf},
                           parquet::IndexLocation{begin, size_bytes});
  }
  file->SetIndexLocations(parquet::IndexKind::kOffsetIndex, locations);
}

void PartWriter::Impl::write_footer() {
  metadata.insert_or_assign(std::string(kRequiredFeaturesKey), nlohmann::json(features).dump());
  const auto entries = std::make_shared<arrow::KeyValueMetadata>();
  for (const auto& [key, value] : metadata) {
    entries->Append(key, value);
  }
  parquet::WriteFileMetaData(*file->Finish(entries), sink.get());
}

PartWriter::PartWriter(const std::filesystem::path& path,
                       const std::map<std::string, std::string>& metadata,
                       const CancelToken* cancel)
    : impl_(std::make_unique<Impl>()) {
  impl_->sink = std::make_shared<PartSink>(path, cancel);
  impl_->metadata = metadata;
  impl_->metadata.insert_or_assign(std::string(kFormatVersionKey),
                                   std::to_string(kPartFormatVersion));
  impl_->file = parquet::FileMetaDataBuilder::Make(&part_schema(), part_writer_properties());
  impl_->guard([&] { PARQUET_THROW_NOT_OK(impl_->sink->Write(kMagic)); });
}

PartWriter::~PartWriter() = default;

void PartWriter::append(QuantizedBlock&& block) {
  if (block.data_size_bytes >
      std::numeric_limits<int32_t>::max() - QuantizedBlock::kDataPrefixBytes) {
    throw Error(ErrorCode::Unsupported,
                impl_->sink->path().string() + ": a block of tensor '" + block.header.layer_name +
                    "' has " + std::to_string(block.data_size_bytes) +
                    " bytes; a value in a Parquet file holds less than 2 GiB");
  }
  check_extras(block.header, impl_->sink->path());
  for (std::string& feature : features_of(layer_extras(block.header.extras))) {
    impl_->features.insert(std::move(feature));
  }
  if (block.data.empty()) {
    block.data = Buffer(QuantizedBlock::kDataPrefixBytes);
  }
  impl_->guard([&] {
    if (shares_row_group(block)) {
      impl_->gathered.push_back(std::move(block));
      if (impl_->gathered.size() == kSharedRowGroupRows) {
        impl_->write_gathered();
      }
    } else {
      impl_->write_gathered();
      impl_->write_group({&block, 1});
    }
  });
}

PartInfo PartWriter::finish() {
  impl_->guard([&] {
    impl_->write_gathered();
    impl_->write_offset_indexes();
    impl_->write_footer();
    impl_->sink->commit();
  });
  impl_->broken = true;  // nothing can follow
  impl_->info.size_bytes = static_cast<uint64_t>(impl_->sink->size_bytes());
  impl_->info.xxh3_128 = impl_->sink->xxh3_128();
  return std::move(impl_->info);
}

int64_t stored_param_bytes(QuantizedBlock& block) {
  return compressed_param_bytes(block);
}

}  // namespace arrow_quant
