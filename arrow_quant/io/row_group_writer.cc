#include "arrow_quant/io/row_group_writer.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/util/compression.h>
#include <parquet/column_page.h>
#include <parquet/column_writer.h>

#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/parquet_schema.h"
#include "arrow_quant/io/part_format.h"

namespace arrow_quant {
namespace {

// Values handed to Parquet at a time: their pointers and levels stay in cache.
constexpr size_t kBatch = 16384;

parquet::ByteArray as_byte_array(std::string_view text) {
  return {static_cast<uint32_t>(text.size()), reinterpret_cast<const uint8_t*>(text.data())};
}

void put_u32_le(uint8_t* out, uint32_t value) {
  for (int i = 0; i < 4; ++i) {
    out[i] = static_cast<uint8_t>(value >> (8 * i));
  }
}

// The columns of one row group, each written by one call in any order.
class Columns {
 public:
  Columns(std::span<QuantizedBlock> blocks, parquet::RowGroupMetaDataBuilder& metadata,
          const std::shared_ptr<arrow::io::OutputStream>& sink)
      : blocks_(blocks), sink_(sink) {
    metadata.set_num_rows(static_cast<int64_t>(blocks.size()));
    for (int i = 0; i < metadata.num_columns(); ++i) {
      chunks_.push_back(metadata.NextColumnChunk());
    }
  }

  // A column of one value per block. value: const QuantizedBlock& → the value.
  template <class Type, class F>
  void scalars(std::string_view name, F value) {
    std::vector<typename Type::c_type> values;
    if constexpr (std::is_same_v<Type, parquet::BooleanType>) {
      bool flags[kSharedRowGroupRows];
      std::transform(blocks_.begin(), blocks_.end(), flags, value);
      write<Type>(leaf(name), nullptr, nullptr, blocks_.size(), flags);
    } else {
      std::transform(blocks_.begin(), blocks_.end(), std::back_inserter(values), value);
      write<Type>(leaf(name), nullptr, nullptr, blocks_.size(), values.data());
    }
  }

  // value: const QuantizedBlock& → a string_view that stays valid, or a string.
  template <class F>
  void strings(std::string_view name, F value) {
    using Text = std::invoke_result_t<F, const QuantizedBlock&>;
    std::vector<Text> texts;
    std::transform(blocks_.begin(), blocks_.end(), std::back_inserter(texts), value);
    std::vector<parquet::ByteArray> values(texts.size());
    std::transform(texts.begin(), texts.end(), values.begin(), as_byte_array);
    write<parquet::ByteArrayType>(leaf(name), nullptr, nullptr, values.size(), values.data());
  }

  void constant_string(std::string_view name, std::string_view text) {
    strings(name, [text](const QuantizedBlock&) { return text; });
  }

  void optional_floats(std::string_view name,
                       const std::function<std::optional<float>(const QuantizedBlock&)>& value) {
    std::vector<int16_t> definition;
    std::vector<float> values;
    for (const QuantizedBlock& block : blocks_) {
      const std::optional<float> figure = value(block);
      definition.push_back(figure.has_value());
      if (figure) {
        values.push_back(*figure);
      }
    }
    write<parquet::FloatType>(leaf(name), definition.data(), nullptr, definition.size(),
                              values.data());
  }

  void shapes(std::string_view name) {
    std::vector<int16_t> definition, repetition;
    std::vector<int64_t> values;
    for (const QuantizedBlock& block : blocks_) {
      const std::vector<int64_t>& shape = block.header.shape;
      for (size_t i = 0; i < std::max<size_t>(shape.size(), 1); ++i) {
        definition.push_back(!shape.empty());
        repetition.push_back(i != 0);
      }
      values.insert(values.end(), shape.begin(), shape.end());
    }
    write<parquet::Int64Type>(leaf(name), definition.data(), repetition.data(), definition.size(),
                              values.data());
  }

  // A list column, of whatever leaves, that is empty in every row.
  template <class Type>
  void empty_lists(std::string_view name, int leaf_in_column = 0) {
    const std::vector<int16_t> zeros(blocks_.size(), 0);
    write<Type>(leaf(name) + leaf_in_column, zeros.data(), zeros.data(), zeros.size(), nullptr);
  }

  // fp16 values of each block. Returns the column's compressed bytes; 0 if all lists are empty.
  int64_t halves(std::string_view name, Buffer QuantizedBlock::*buffer);

  std::unique_ptr<parquet::OffsetIndexBuilder> data();

  int64_t total_bytes() const { return total_bytes_; }

 private:
  int leaf(std::string_view name) const { return find_leaf(part_schema(), name); }

  std::unique_ptr<parquet::PageWriter> page_writer(
      int leaf, parquet::OffsetIndexBuilder* pages = nullptr) const {
    const auto& properties = *part_writer_properties();
    const auto path = part_schema().Column(leaf)->path();
    const auto options = properties.codec_options(path);
    return parquet::PageWriter::Open(
        sink_, properties.compression(path), chunks_[static_cast<size_t>(leaf)], -1, -1,
        arrow::default_memory_pool(), /*buffered_row_group=*/false, nullptr, nullptr,
        /*page_write_checksum_enabled=*/false, nullptr, pages,
        options ? *options : arrow::util::CodecOptions{});
  }

  std::shared_ptr<parquet::ColumnWriter> column_writer(int leaf) const {
    return parquet::ColumnWriter::Make(chunks_[static_cast<size_t>(leaf)], page_writer(leaf),
                                       part_writer_properties().get());
  }

  template <class Type>
  void write(int leaf, const int16_t* definition, const int16_t* repetition, size_t num_levels,
             const typename Type::c_type* values) {
    const auto writer = column_writer(leaf);
    static_cast<parquet::TypedColumnWriter<Type>&>(*writer).WriteBatch(
        static_cast<int64_t>(num_levels), definition, repetition, values);
    total_bytes_ += writer->Close();
  }

  std::span<QuantizedBlock> blocks_;
  std::shared_ptr<arrow::io::OutputStream> sink_;
  std::vector<parquet::ColumnChunkMetaDataBuilder*> chunks_;
  int64_t total_bytes_ = 0;
};

int64_t Columns::halves(std::string_view name, Buffer QuantizedBlock::*buffer) {
  const auto writer = column_writer(leaf(name));
  auto& typed = static_cast<parquet::FixedLenByteArrayWriter&>(*writer);
  const std::vector<int16_t> ones(kBatch, 1);
  const int16_t zero = 0;
  std::vector<int16_t> repetition(kBatch, 1);
  std::vector<parquet::FixedLenByteArray> values(kBatch);
  bool all_empty = true;
  for (const QuantizedBlock& block : blocks_) {
    const auto halves = (block.*buffer).bytes();
    const size_t count = halves.size() / sizeof(uint16_t);
    if (count == 0) {
      typed.WriteBatch(1, &zero, &zero, nullptr);
      continue;
    }
    all_empty = false;
    for (size_t begin = 0; begin < count; begin += kBatch) {
      const size_t size = std::min(kBatch, count - begin);
      for (size_t i = 0; i < size; ++i) {
        values[i].ptr = halves.data() + (begin + i) * sizeof(uint16_t);
      }
      repetition[0] = begin != 0;
      typed.WriteBatch(static_cast<int64_t>(size), ones.data(), repetition.data(), values.data());
    }
  }
  total_bytes_ += writer->Close();
  return all_empty ? 0 : writer->total_compressed_bytes_written();
}

std::unique_ptr<parquet::OffsetIndexBuilder> Columns::data() {
  auto pages = blocks_.size() > 1 ? parquet::OffsetIndexBuilder::Make() : nullptr;
  const auto writer = page_writer(leaf("data"), pages.get());
  for (size_t row = 0; row < blocks_.size(); ++row) {
    QuantizedBlock& block = blocks_[row];
    put_u32_le(block.data.data(), static_cast<uint32_t>(block.data_size_bytes));
    const int64_t body_bytes =
        static_cast<int64_t>(QuantizedBlock::kDataPrefixBytes + block.data_size_bytes);
    const auto body = std::make_shared<arrow::Buffer>(block.data.data(), body_bytes);
    const parquet::DataPageV1 page(body, /*num_values=*/1, parquet::Encoding::PLAIN,
                                   parquet::Encoding::RLE, parquet::Encoding::RLE, body_bytes, {},
                                   static_cast<int64_t>(row));
    total_bytes_ += writer->WriteDataPage(page);
  }
  writer->Close(/*has_dictionary=*/false, /*fallback=*/false);
  return pages;
}

// What later features will fill; a reader refuses what it does not know.
void write_unused_columns(Columns& columns) {
  const auto zero = [](const QuantizedBlock&) { return 0; };
  columns.empty_lists<parquet::ByteArrayType>("transforms");
  columns.scalars<parquet::Int32Type>("hadamard_block", zero);
  columns.constant_string("low_rank_u", "");
  columns.constant_string("low_rank_v", "");
  columns.scalars<parquet::Int32Type>("rank", zero);
  columns.empty_lists<parquet::FloatType>("input_scale");
  columns.constant_string("bias_corrections", "");
  columns.constant_string("bias_encoding", "");
  columns.scalars<parquet::Int32Type>("act_bits", zero);
  columns.constant_string("act_mode", "");
  for (int field = 0; field < 3; ++field) {
    columns.empty_lists<parquet::FloatType>("act", field);
  }
  columns.optional_floats("output_sqnr_db",
                          [](const QuantizedBlock&) { return std::optional<float>(); });
}

void write_header_columns(Columns& columns) {
  using parquet::BooleanType, parquet::FloatType, parquet::Int32Type, parquet::Int64Type;
  using Block = QuantizedBlock;
  columns.strings("layer_name",
                  [](const Block& b) { return std::string_view(b.header.layer_name); });
  columns.shapes("shape");
  columns.strings("dtype", [](const Block& b) { return to_string(b.header.dtype); });
  columns.scalars<Int32Type>("block_index", [](const Block& b) { return b.header.block_index; });
  columns.scalars<Int64Type>("row_start", [](const Block& b) { return b.header.row_start; });
  columns.scalars<Int64Type>("row_count", [](const Block& b) { return b.header.row_count; });
  columns.scalars<Int64Type>("num_params", [](const Block& b) { return b.header.num_params; });
  columns.strings("quant_type", [](const Block& b) { return b.header.quant_type(); });
  columns.scalars<Int32Type>("bit_width", [](const Block& b) { return b.header.bit_width; });
  columns.scalars<Int32Type>("group_size", [](const Block& b) { return b.header.group_size; });
  columns.scalars<Int32Type>("quant_axis", [](const Block& b) { return int{b.header.quantized}; });
  columns.strings("packing", [](const Block& b) {
    return b.header.quantized ? kPackingLsbFirst : std::string_view();
  });
  columns.strings("param_encoding", [](const Block& b) {
    return b.header.quantized ? kParamEncodingFp16 : std::string_view();
  });
  columns.scalars<FloatType>("tensor_scale", [](const Block& b) { return b.header.tensor_scale; });
  columns.strings("method", [](const Block& b) { return std::string_view(b.header.method); });
  columns.scalars<BooleanType>("is_diffusion_model",
                               [](const Block& b) { return b.header.is_diffusion_model; });
  columns.strings("modality", [](const Block& b) { return std::string_view(b.header.modality); });
  columns.strings("component", [](const Block& b) { return std::string_view(b.header.component); });
  columns.optional_floats("cosine_similarity",
                          [](const Block& b) { return b.header.cosine_similarity; });
  columns.optional_floats("sqnr_db", [](const Block& b) { return b.header.sqnr_db; });
  columns.optional_floats("max_abs_error", [](const Block& b) { return b.header.max_abs_error; });
  columns.scalars<Int64Type>("checksum", [](const Block& b) {
    return static_cast<int64_t>(xxh3_64({b.codes(), b.data_size_bytes}));
  });
  columns.strings("kept_reason",
                  [](const Block& b) { return std::string_view(b.header.kept_reason); });
}

}  // namespace

WrittenRowGroup write_row_group(std::span<QuantizedBlock> blocks,
                                parquet::RowGroupMetaDataBuilder& metadata,
                                const std::shared_ptr<arrow::io::OutputStream>& sink) {
  Columns columns(blocks, metadata, sink);
  WrittenRowGroup written;
  // The bulk first, so that all small columns of the row group lie together behind it.
  written.data_pages = columns.data();
  written.param_bytes = columns.halves("scales", &QuantizedBlock::scales) +
                        columns.halves("offsets", &QuantizedBlock::offsets);
  write_header_columns(columns);
  write_unused_columns(columns);
  metadata.Finish(columns.total_bytes());
  return written;
}

}  // namespace arrow_quant
