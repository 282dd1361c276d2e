#include "arrow_quant/io/part_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <new>
#include <optional>
#include <utility>

#include <arrow/io/file.h>
#include <arrow/util/io_util.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <nlohmann/json.hpp>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_checks.h"
#include "arrow_quant/io/block_source.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/parquet_guard.h"
#include "arrow_quant/io/parquet_schema.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/part_rows.h"

namespace arrow_quant {
namespace {

// More rows than any part has. A file that claims more is not given memory for them.
constexpr int64_t kMaxRows = 1 << 20;

[[noreturn]] void fail_broken(const std::filesystem::path& path, const std::string& problem) {
  throw Error(ErrorCode::Metadata,
              path.string() + " is not a readable part of a quantized model: " + problem);
}

template <class F>
auto guard(const std::filesystem::path& path, F read) {
  return guard_parquet(path, read, [&](const std::string& problem) { fail_broken(path, problem); });
}

std::shared_ptr<arrow::io::ReadableFile> open_file(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    throw_io_error("open", path, errno);
  }
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    const int why = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    ::close(fd);
    throw_io_error("read", path, why);
  }
  auto file = arrow::io::ReadableFile::Open(fd);
  if (!file.ok()) {
    ::close(fd);
    fail_broken(path, file.status().ToString());
  }
  return *std::move(file);
}

std::map<std::string, std::string> entries_of(const parquet::FileMetaData& metadata) {
  std::map<std::string, std::string> entries;
  if (const auto& stored = metadata.key_value_metadata()) {
    for (int64_t i = 0; i < stored->size(); ++i) {
      entries.emplace(stored->key(i), stored->value(i));
    }
  }
  return entries;
}

// A file without the key was rewritten by a tool that drops such entries: what it holds still says
// in its columns how it is to be read.
void check_version(const std::map<std::string, std::string>& entries,
                   const std::filesystem::path& path) {
  const auto entry = entries.find(std::string(kFormatVersionKey));
  if (entry == entries.end()) {
    return;
  }
  const std::string& text = entry->second;
  int version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size() || version < 1) {
    fail_broken(path, "its format version is '" + text + "', expected a number from 1");
  }
  if (version > kPartFormatVersion) {
    throw Error(ErrorCode::Unsupported,
                path.string() + " has format version " + text + ", this version reads up to " +
                    std::to_string(kPartFormatVersion) + ": update arrow-quant");
  }
}

void check_required_features(const std::map<std::string, std::string>& entries,
                             const std::filesystem::path& path) {
  const auto entry = entries.find(std::string(kRequiredFeaturesKey));
  if (entry == entries.end()) {
    return;
  }
  const auto features = nlohmann::json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  if (!features.is_array()) {
    fail_broken(path, "its required features are not a JSON list: " + entry->second);
  }
  for (const auto& feature : features) {
    if (!feature.is_string() || !is_known_feature(feature.get<std::string>())) {
      throw Error(ErrorCode::Unsupported, path.string() + " needs the feature " + feature.dump() +
                                              ", which this version does not have: update "
                                              "arrow-quant");
    }
  }
}

// Pre: read_part_rows() has checked the header.
int64_t cols_of(const BlockHeader& header) {
  return matrix_view(header.shape)->cols;
}

bool is_positive_half(uint16_t half) {
  return half >= 1 && half < 0x7C00;
}
bool is_finite_half(uint16_t half) {
  return (half & 0x7C00) != 0x7C00;
}

}  // namespace

struct PartReader::Impl {
  std::filesystem::path path;
  std::map<std::string, std::string> metadata;
  std::vector<BlockHeader> blocks;
  std::vector<int64_t> stored_bytes;
  std::optional<PartColumns> columns;
  std::optional<BlockSource> source;

  // Where a block stands, and what must be found there.
  struct Place {
    int row_group = 0;
    int64_t row = 0;
    PartRows::Bulk bulk;
  };
  std::vector<Place> places;

  void open();
  void add_row_group(parquet::ParquetFileReader& reader, int row_group);
  int64_t param_bytes(const parquet::RowGroupMetaData& group, const BlockHeader& header,
                      const PartRows::Bulk& bulk) const;
  QuantizedBlock read(size_t index) const;
  BlockExtras read_extras(size_t index) const;
  void check_params(const QuantizedBlock& block) const;
};

void PartReader::Impl::open() {
  const auto file = open_file(path);
  const auto reader = parquet::ParquetFileReader::Open(file, part_reader_properties());
  const auto file_metadata = reader->metadata();
  metadata = entries_of(*file_metadata);
  check_version(metadata, path);
  check_required_features(metadata, path);
  if (file_metadata->num_rows() < 0 || file_metadata->num_rows() > kMaxRows) {
    fail_broken(path, "it announces " + std::to_string(file_metadata->num_rows()) + " rows");
  }
  columns.emplace(*file_metadata->schema(), path.string());
  source.emplace(file, path.string(), file_metadata, columns->leaf("data"));
  for (int i = 0; i < file_metadata->num_row_groups(); ++i) {
    add_row_group(*reader, i);
  }
  check_tensors_complete(blocks, path.string());
}

void PartReader::Impl::add_row_group(parquet::ParquetFileReader& reader, int row_group) {
  const auto group = reader.RowGroup(row_group);
  const int64_t num_rows = group->metadata()->num_rows();
  if (num_rows < 0 || num_rows > kMaxRows - static_cast<int64_t>(blocks.size())) {
    fail_broken(path, "a row group announces " + std::to_string(num_rows) + " rows");
  }
  source->add_row_group(reader);
  const std::string file = path.string();
  PartRows rows = read_part_rows(RowGroupColumns(*group, *columns, file));
  for (size_t row = 0; row < rows.headers.size(); ++row) {
    const PartRows::Bulk& bulk = rows.bulk[row];
    places.push_back({row_group, static_cast<int64_t>(row), bulk});
    stored_bytes.push_back(static_cast<int64_t>(bulk.data_size_bytes) +
                           param_bytes(*group->metadata(), rows.headers[row], bulk));
    blocks.push_back(std::move(rows.headers[row]));
  }
}

// As compressed where the row has its row group to itself.
int64_t PartReader::Impl::param_bytes(const parquet::RowGroupMetaData& group,
                                      const BlockHeader& header, const PartRows::Bulk& bulk) const {
  const ExtrasSizes extras =
      extras_sizes(header.extras, header.block_index, header.row_count, cols_of(header));
  const struct {
    const char* column;
    size_t size_bytes;
  } arrays[] = {
      {"scales", bulk.num_scales * sizeof(uint16_t)},
      {"offsets", bulk.num_offsets * sizeof(uint16_t)},
      {"low_rank_u", extras.low_rank_u * sizeof(uint16_t)},
      {"low_rank_v", extras.low_rank_v * sizeof(uint16_t)},
      {"input_scale", extras.input_scale * sizeof(float)},
      {"bias_corrections", extras.bias_corrections * sizeof(uint16_t)},
      {"act.clip", header.extras.act.size() * sizeof(float)},
      {"act.scale", header.extras.act.size() * sizeof(float)},
      {"act.zero_point", header.extras.act.size() * sizeof(float)},
  };
  int64_t bytes = 0;
  for (const auto& [column, size_bytes] : arrays) {
    if (size_bytes > 0) {
      bytes += group.num_rows() == 1
                   ? group.ColumnChunk(columns->leaf(column))->total_compressed_size()
                   : static_cast<int64_t>(size_bytes);
    }
  }
  return bytes;
}

QuantizedBlock PartReader::Impl::read(size_t index) const {
  const auto& [row_group, row, bulk] = places.at(index);
  QuantizedBlock block;
  block.header = blocks[index];
  block.data = source->read_data(row_group, row, bulk.data_size_bytes);
  block.data_size_bytes = bulk.data_size_bytes;
  if (xxh3_64({block.codes(), block.data_size_bytes}) != bulk.checksum) {
    throw Error(ErrorCode::Metadata,
                path.string() + ": the data of tensor '" + block.header.layer_name + "', block " +
                    std::to_string(block.header.block_index) +
                    ", does not match its checksum: the file is damaged, make or copy it again");
  }
  // Their numbers are bounded by the bytes of data that were really there.
  block.scales = source->read_halves(columns->leaf("scales"), row_group, row, bulk.num_scales);
  block.offsets = source->read_halves(columns->leaf("offsets"), row_group, row, bulk.num_offsets);
  check_params(block);
  if (block.header.quantized) {
    block.header.extras = read_extras(index);
  }
  return block;
}

BlockExtras PartReader::Impl::read_extras(size_t index) const {
  const auto& [row_group, row, bulk] = places.at(index);
  const BlockHeader& header = blocks[index];
  const ExtrasSizes sizes =
      extras_sizes(header.extras, header.block_index, header.row_count, cols_of(header));
  BlockExtras extras = header.extras;
  const auto words = [&](const char* name, size_t count) {
    return source->read_words(columns->leaf(name), row_group, row, count);
  };
  extras.low_rank_u = words("low_rank_u", sizes.low_rank_u);
  extras.low_rank_v = words("low_rank_v", sizes.low_rank_v);
  extras.bias_corrections = words("bias_corrections", sizes.bias_corrections);
  extras.input_scale =
      source->read_floats(columns->leaf("input_scale"), row_group, row, sizes.input_scale);
  const std::string problem =
      extras_array_problem(extras, header.block_index, header.row_count, cols_of(header));
  if (!problem.empty()) {
    fail_broken(path, "tensor '" + header.layer_name + "', block " +
                          std::to_string(header.block_index) + ": " + problem);
  }
  return extras;
}

void PartReader::Impl::check_params(const QuantizedBlock& block) const {
  const auto scales = block.scales.as<uint16_t>();
  const auto offsets = block.offsets.as<uint16_t>();
  if (!std::all_of(scales.begin(), scales.end(), is_positive_half)) {
    fail_broken(path, "tensor '" + block.header.layer_name +
                          "' has a scale that is not finite and above 0");
  }
  if (!std::all_of(offsets.begin(), offsets.end(), is_finite_half)) {
    fail_broken(path, "tensor '" + block.header.layer_name + "' has an offset that is not finite");
  }
}

PartReader::PartReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PartReader::PartReader(PartReader&&) noexcept = default;
PartReader& PartReader::operator=(PartReader&&) noexcept = default;
PartReader::~PartReader() = default;

PartReader PartReader::open(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  guard(path, [&] { impl->open(); });
  return PartReader(std::move(impl));
}

const std::vector<BlockHeader>& PartReader::blocks() const {
  return impl_->blocks;
}
const std::vector<int64_t>& PartReader::stored_bytes() const {
  return impl_->stored_bytes;
}
const std::map<std::string, std::string>& PartReader::metadata() const {
  return impl_->metadata;
}

QuantizedBlock PartReader::read(size_t index) const {
  return guard(impl_->path, [&] { return impl_->read(index); });
}

BlockExtras PartReader::read_extras(size_t index) const {
  return guard(impl_->path, [&] { return impl_->read_extras(index); });
}

}  // namespace arrow_quant
