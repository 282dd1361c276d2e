#include "arrow_quant/io/block_source.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include <parquet/column_reader.h>
#include <parquet/exception.h>
#include <parquet/page_index.h>

#include "arrow_quant/core/error.h"
#include "arrow_quant/core/float16.h"
#include "arrow_quant/io/parquet_schema.h"
#include "arrow_quant/io/quantized_block.h"

namespace arrow_quant {
namespace {

// Values decoded at a time, at least and at most.
constexpr int64_t kMinBatch = 256;
constexpr int64_t kMaxBatch = 16384;
constexpr size_t kPrefix = QuantizedBlock::kDataPrefixBytes;

uint32_t get_u32_le(const uint8_t* bytes) {
  return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}

parquet::ReaderProperties page_by_page() {
  parquet::ReaderProperties properties = part_reader_properties();
  properties.enable_buffered_stream();
  return properties;
}

// Whether a column chunk's pages hold plain values and nothing else.
bool is_plain(const parquet::ColumnChunkMetaData& chunk, const parquet::ColumnDescriptor& leaf) {
  const auto& encodings = chunk.encodings();
  return chunk.compression() == parquet::Compression::UNCOMPRESSED &&
         leaf.max_definition_level() == 0 && leaf.max_repetition_level() == 0 &&
         !chunk.has_dictionary_page() &&
         std::all_of(encodings.begin(), encodings.end(), [](parquet::Encoding::type encoding) {
           return encoding == parquet::Encoding::PLAIN || encoding == parquet::Encoding::RLE ||
                  encoding == parquet::Encoding::BIT_PACKED;
         });
}

// Calls found(values) with the values of list number `row` of a column, in pieces of up to `batch`.
template <class Type, class F>
void for_list(parquet::ColumnReader& column, int64_t row, int64_t batch, F found) {
  auto& reader = static_cast<parquet::TypedColumnReader<Type>&>(column);
  const int16_t max_definition = column.descr()->max_definition_level();
  std::vector<int16_t> definition(static_cast<size_t>(batch)), repetition(definition.size());
  std::vector<typename Type::c_type> values(definition.size());
  int64_t current = -1;
  while (current <= row && reader.HasNext()) {
    int64_t num_values = 0;
    const int64_t levels =
        reader.ReadBatch(batch, definition.data(), repetition.data(), values.data(), &num_values);
    if (levels == 0) {
      return;
    }
    int64_t before = 0;  // values of earlier rows in this batch
    int64_t count = 0;
    for (int64_t i = 0; i < levels; ++i) {
      current += repetition[i] == 0;
      if (definition[i] == max_definition) {
        before += current < row;
        count += current == row;
      }
    }
    if (before + count > num_values) {
      return;
    }
    found(std::span(values).subspan(static_cast<size_t>(before), static_cast<size_t>(count)));
  }
}

}  // namespace

BlockSource::BlockSource(std::shared_ptr<arrow::io::RandomAccessFile> file, std::string name,
                         std::shared_ptr<parquet::FileMetaData> metadata, int data_leaf)
    : file_(std::move(file)),
      name_(std::move(name)),
      decoder_(parquet::ParquetFileReader::Open(file_, page_by_page(), std::move(metadata))),
      data_leaf_(data_leaf) {}

void BlockSource::add_row_group(parquet::ParquetFileReader& reader) {
  const int row_group = static_cast<int>(pages_.size());
  std::vector<Page>& pages = pages_.emplace_back();
  const auto group = reader.metadata()->RowGroup(row_group);
  const auto chunk = group->ColumnChunk(data_leaf_);
  if (!is_plain(*chunk, *group->schema()->Column(data_leaf_))) {
    return;
  }
  const int64_t num_rows = group->num_rows();
  PARQUET_ASSIGN_OR_THROW(const int64_t file_size, file_->GetSize());
  const auto add = [&](int64_t begin, int64_t size) {
    const bool inside = begin >= 0 && size >= 0 && begin <= file_size && size <= file_size - begin;
    pages.push_back(inside ? Page{begin, begin + size} : Page{});
  };
  if (num_rows == 1) {
    add(chunk->data_page_offset(), chunk->total_compressed_size());
  } else if (chunk->GetOffsetIndexLocation()) {
    const auto group_index = reader.GetPageIndexReader()->RowGroup(row_group);
    const auto index = group_index ? group_index->GetOffsetIndex(data_leaf_) : nullptr;
    if (index && static_cast<int64_t>(index->page_locations().size()) == num_rows) {
      for (const parquet::PageLocation& page : index->page_locations()) {
        add(page.offset, page.compressed_page_size);
      }
    }
  }
}

// Reads the end of a page, where its value stands behind the value's length. Nothing if there is
// no value of that size; memory is taken only for bytes that the file has.
std::optional<Buffer> BlockSource::read_page(const Page& page, size_t size_bytes) const {
  const size_t body_bytes = kPrefix + size_bytes;
  if (static_cast<uint64_t>(page.end - page.begin) <= body_bytes) {
    return std::nullopt;
  }
  Buffer body(body_bytes);
  const auto size = static_cast<int64_t>(body_bytes);
  PARQUET_ASSIGN_OR_THROW(const int64_t num_read,
                          file_->ReadAt(page.end - size, size, body.data()));
  if (num_read != size || get_u32_le(body.data()) != size_bytes) {
    return std::nullopt;
  }
  return body;
}

Buffer BlockSource::read_data(int row_group, int64_t row, size_t size_bytes) const {
  const auto& pages = pages_[static_cast<size_t>(row_group)];
  if (!pages.empty()) {
    if (auto value = read_page(pages[static_cast<size_t>(row)], size_bytes)) {
      return *std::move(value);
    }
  }
  Buffer buffer;
  decode_binary(data_leaf_, row_group, row, size_bytes, [&](const uint8_t* bytes) {
    buffer = Buffer(kPrefix + size_bytes);
    std::memcpy(buffer.data() + kPrefix, bytes, size_bytes);
  });
  return buffer;
}

void BlockSource::fail(int leaf, int row_group, int64_t row, const std::string& problem) const {
  const auto metadata = decoder_->metadata();
  throw Error(ErrorCode::Metadata,
              name_ + ": row group " + std::to_string(row_group) + ", row " + std::to_string(row) +
                  ": column '" + metadata->schema()->GetColumnRoot(leaf)->name() + "' " + problem);
}

// Calls take(bytes) with the value, if it has size_bytes bytes.
template <class F>
void BlockSource::decode_binary(int leaf, int row_group, int64_t row, size_t size_bytes,
                                F take) const {
  const auto column = decoder_->RowGroup(row_group)->Column(leaf);
  if (column->type() != parquet::Type::BYTE_ARRAY) {
    fail(leaf, row_group, row, "does not hold bytes");
  }
  auto& reader = static_cast<parquet::ByteArrayReader&>(*column);
  parquet::ByteArray value;
  int16_t definition = 0, repetition = 0;
  int64_t num_values = 0;
  if (reader.Skip(row) == row && reader.HasNext()) {
    reader.ReadBatch(1, &definition, &repetition, &value, &num_values);
  }
  if (num_values != 1 || value.len != size_bytes) {
    fail(leaf, row_group, row,
         "has " + (num_values == 1 ? std::to_string(value.len) : "no") + " bytes, expected " +
             std::to_string(size_bytes));
  }
  take(value.ptr);
}

std::vector<uint16_t> BlockSource::read_words(int leaf, int row_group, int64_t row,
                                              size_t count) const {
  std::vector<uint16_t> words;
  const size_t size_bytes = count * sizeof(uint16_t);
  decode_binary(leaf, row_group, row, size_bytes, [&](const uint8_t* bytes) {
    words.resize(count);
    if (count > 0) std::memcpy(words.data(), bytes, size_bytes);
  });
  return words;
}

std::vector<float> BlockSource::read_floats(int leaf, int row_group, int64_t row,
                                            size_t count) const {
  const auto column = decoder_->RowGroup(row_group)->Column(leaf);
  const int64_t batch = std::clamp(static_cast<int64_t>(count), kMinBatch, kMaxBatch);
  std::vector<float> floats;
  size_t found = 0;
  const auto take = [&](auto values) {
    found += values.size();
    if (found <= count) {
      for (const auto value : values) floats.push_back(static_cast<float>(value));
    }
  };
  switch (column->type()) {
    case parquet::Type::FLOAT:
      for_list<parquet::FloatType>(*column, row, batch, take);
      break;
    case parquet::Type::DOUBLE:
      for_list<parquet::DoubleType>(*column, row, batch, take);
      break;
    default:
      fail(leaf, row_group, row, "does not hold floating-point numbers");
  }
  if (found != count) {
    fail(leaf, row_group, row,
         "has " + std::to_string(found) + " values, expected " + std::to_string(count));
  }
  return floats;
}

Buffer BlockSource::read_halves(int leaf, int row_group, int64_t row, size_t count) const {
  const auto column = decoder_->RowGroup(row_group)->Column(leaf);
  const parquet::ColumnDescriptor& descriptor = *column->descr();
  Buffer buffer(count * sizeof(uint16_t));
  const int64_t batch = std::clamp(static_cast<int64_t>(count), kMinBatch, kMaxBatch);
  size_t filled = 0;
  const auto take = [&](auto values, auto put) {
    if (filled + values.size() <= count) {
      for (size_t i = 0; i < values.size(); ++i) {
        put(values[i], buffer.data() + (filled + i) * sizeof(uint16_t));
      }
    }
    filled += values.size();
  };
  if (column->type() == parquet::Type::FIXED_LEN_BYTE_ARRAY && descriptor.type_length() == 2) {
    for_list<parquet::FLBAType>(
        *column, row, batch, [&](std::span<parquet::FixedLenByteArray> values) {
          take(values, [](const parquet::FixedLenByteArray& value, uint8_t* out) {
            std::memcpy(out, value.ptr, sizeof(uint16_t));
          });
        });
  } else if (column->type() == parquet::Type::FLOAT) {  // tools without fp16 widen
    for_list<parquet::FloatType>(*column, row, batch, [&](std::span<float> values) {
      take(values, [&](float value, uint8_t* out) {
        const uint16_t half = float_to_half(value);
        if (half_to_float(half) != value) {
          fail(leaf, row_group, row,
               "has the value " + std::to_string(value) + ", which fp16 cannot hold");
        }
        std::memcpy(out, &half, sizeof(half));
      });
    });
  } else {
    fail(leaf, row_group, row, "does not hold fp16 values");
  }
  if (filled != count) {
    fail(leaf, row_group, row,
         "has " + std::to_string(filled) + " values, expected " + std::to_string(count));
  }
  return buffer;
}

}  // namespace arrow_quant
