#include "arrow_quant/io/row_group_writer.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <arrow/io/memory.h>
#include <arrow/util/compression.h>
#include <parquet/column_page.h>
#include <parquet/column_writer.h>
#include <parquet/exception.h>

#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/page_body.h"
#include "arrow_quant/io/parquet_schema.h"
#include "arrow_quant/io/part_format.h"

namespace arrow_quant {
namespace {

// Does not own: `bytes` outlives the page.
parquet::DataPageV1 plain_page(std::span<const uint8_t> bytes, size_t num_values,
                               int64_t uncompressed_size, int64_t first_row = 0) {
  return {std::make_shared<arrow::Buffer>(bytes.data(), static_cast<int64_t>(bytes.size())),
          static_cast<int32_t>(num_values),
          parquet::Encoding::PLAIN,
          parquet::Encoding::RLE,
          parquet::Encoding::RLE,
          uncompressed_size,
          parquet::EncodedStatistics(),
          first_row};
}

// The columns of one row group, each written by one call, in any order.
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

  // One value of type T per block; value: const QuantizedBlock& → what converts to T.
  template <class T, class F>
  void numbers(std::string_view name, F value) {
    PageBody body;
    for (const QuantizedBlock& block : blocks_) {
      body.add(static_cast<T>(value(block)));
    }
    write(leaf(name), body, blocks_.size());
  }

  // value: const QuantizedBlock& → what converts to string_view.
  template <class F>
  void texts(std::string_view name, F value) {
    PageBody body;
    for (const QuantizedBlock& block : blocks_) {
      body.add_text(value(block));
    }
    write(leaf(name), body, blocks_.size());
  }

  void constant_text(std::string_view name, std::string_view text) {
    texts(name, [text](const QuantizedBlock&) { return text; });
  }

  // value: const QuantizedBlock& → optional<float>.
  template <class F>
  void optional_floats(std::string_view name, F value) {
    Levels definition;
    PageBody values;
    for (const QuantizedBlock& block : blocks_) {
      const std::optional<float> figure = value(block);
      definition.add(figure.has_value());
      if (figure) {
        values.add(*figure);
      }
    }
    PageBody body;
    body.add_levels(definition);
    body.add_bytes(values.bytes());
    write(leaf(name), body, definition.count());
  }

  // list: const QuantizedBlock& → span of bytes, the elements of element_bytes each.
  template <class F>
  void lists(int leaf, size_t element_bytes, F list) {
    Levels repetition, definition;
    for (const QuantizedBlock& block : blocks_) {
      const size_t count = list(block).size() / element_bytes;
      repetition.add(false);
      repetition.add(true, std::max<size_t>(count, 1) - 1);
      definition.add(count > 0, std::max<size_t>(count, 1));
    }
    PageBody body;
    body.add_levels(repetition);
    body.add_levels(definition);
    for (const QuantizedBlock& block : blocks_) {
      body.add_bytes(list(block));
    }
    write(leaf, body, definition.count());
  }

  void booleans(std::string_view name, bool BlockHeader::*value);
  void shapes();
  void empty_lists(std::string_view name, int num_leaves = 1);
  // Returns the column's bytes as compressed; 0 if all lists are empty.
  int64_t halves(std::string_view name, Buffer QuantizedBlock::*buffer);
  int64_t params() {
    return halves("scales", &QuantizedBlock::scales) + halves("offsets", &QuantizedBlock::offsets);
  }
  std::unique_ptr<parquet::OffsetIndexBuilder> data();

  int64_t total_bytes() const { return total_bytes_; }

 private:
  int leaf(std::string_view name) const { return find_leaf(part_schema(), name); }
  std::unique_ptr<parquet::PageWriter> page_writer(
      int leaf, parquet::OffsetIndexBuilder* pages = nullptr) const;
  void write(int leaf, const PageBody& body, size_t num_values);

  std::span<QuantizedBlock> blocks_;
  std::shared_ptr<arrow::io::OutputStream> sink_;
  std::vector<parquet::ColumnChunkMetaDataBuilder*> chunks_;
  int64_t total_bytes_ = 0;
};

std::unique_ptr<parquet::PageWriter> Columns::page_writer(
    int leaf, parquet::OffsetIndexBuilder* pages) const {
  const auto& properties = *part_writer_properties();
  const auto path = part_schema().Column(leaf)->path();
  const auto options = properties.codec_options(path);
  return parquet::PageWriter::Open(
      sink_, properties.compression(path), chunks_[static_cast<size_t>(leaf)], -1, -1,
      arrow::default_memory_pool(), /*buffered_row_group=*/false, nullptr, nullptr,
      /*page_write_checksum_enabled=*/false, nullptr, pages,
      options ? *options : arrow::util::CodecOptions{});
}

// A column chunk of one page.
void Columns::write(int leaf, const PageBody& body, size_t num_values) {
  const auto writer = page_writer(leaf);
  const auto size = static_cast<int64_t>(body.bytes().size());
  if (writer->has_compressor()) {
    PARQUET_ASSIGN_OR_THROW(const std::unique_ptr<arrow::ResizableBuffer> compressed,
                            arrow::AllocateResizableBuffer(0));
    writer->Compress(arrow::Buffer(body.bytes().data(), size), compressed.get());
    total_bytes_ += writer->WriteDataPage(plain_page(
        std::span(compressed->data(), static_cast<size_t>(compressed->size())), num_values, size));
  } else {
    total_bytes_ += writer->WriteDataPage(plain_page(body.bytes(), num_values, size));
  }
  writer->Close(/*has_dictionary=*/false, /*fallback=*/false);
}

// Eight to a byte, the first in the lowest bit.
void Columns::booleans(std::string_view name, bool BlockHeader::*value) {
  PageBody body;
  for (size_t begin = 0; begin < blocks_.size(); begin += 8) {
    unsigned byte = 0;
    for (size_t i = begin; i < std::min(begin + 8, blocks_.size()); ++i) {
      byte |= unsigned{blocks_[i].header.*value} << (i - begin);
    }
    body.add(static_cast<uint8_t>(byte));
  }
  write(leaf(name), body, blocks_.size());
}

void Columns::shapes() {
  lists(leaf("shape"), sizeof(int64_t), [](const QuantizedBlock& block) {
    const std::vector<int64_t>& shape = block.header.shape;
    return std::span(reinterpret_cast<const uint8_t*>(shape.data()),
                     shape.size() * sizeof(int64_t));
  });
}

void Columns::empty_lists(std::string_view name, int num_leaves) {
  for (int i = 0; i < num_leaves; ++i) {
    lists(leaf(name) + i, 1, [](const QuantizedBlock&) { return std::span<const uint8_t>(); });
  }
}

int64_t Columns::halves(std::string_view name, Buffer QuantizedBlock::*buffer) {
  const int column = leaf(name);
  lists(column, sizeof(uint16_t),
        [buffer](const QuantizedBlock& block) { return (block.*buffer).bytes(); });
  const bool all_empty =
      std::all_of(blocks_.begin(), blocks_.end(),
                  [buffer](const QuantizedBlock& block) { return (block.*buffer).empty(); });
  return all_empty ? 0 : chunks_[static_cast<size_t>(column)]->total_compressed_size();
}

// One page per block, whose body is the block's own memory.
std::unique_ptr<parquet::OffsetIndexBuilder> Columns::data() {
  auto pages = blocks_.size() > 1 ? parquet::OffsetIndexBuilder::Make() : nullptr;
  const auto writer = page_writer(leaf("data"), pages.get());
  for (size_t row = 0; row < blocks_.size(); ++row) {
    QuantizedBlock& block = blocks_[row];
    const auto length = static_cast<uint32_t>(block.data_size_bytes);
    std::memcpy(block.data.data(), &length, sizeof(length));
    const std::span body(block.data.data(),
                         QuantizedBlock::kDataPrefixBytes + block.data_size_bytes);
    total_bytes_ += writer->WriteDataPage(
        plain_page(body, 1, static_cast<int64_t>(body.size()), static_cast<int64_t>(row)));
  }
  writer->Close(/*has_dictionary=*/false, /*fallback=*/false);
  return pages;
}

// What later features will fill; a reader refuses what it does not know.
void write_unused_columns(Columns& columns) {
  const auto zero = [](const QuantizedBlock&) { return 0; };
  columns.empty_lists("transforms");
  columns.numbers<int32_t>("hadamard_block", zero);
  columns.constant_text("low_rank_u", "");
  columns.constant_text("low_rank_v", "");
  columns.numbers<int32_t>("rank", zero);
  columns.empty_lists("input_scale");
  columns.constant_text("bias_corrections", "");
  columns.constant_text("bias_encoding", "");
  columns.numbers<int32_t>("act_bits", zero);
  columns.constant_text("act_mode", "");
  columns.empty_lists("act", /*num_leaves=*/3);
  columns.optional_floats("output_sqnr_db",
                          [](const QuantizedBlock&) { return std::optional<float>(); });
}

void write_header_columns(Columns& columns) {
  using Block = QuantizedBlock;
  columns.texts("layer_name", [](const Block& b) { return std::string_view(b.header.layer_name); });
  columns.shapes();
  columns.texts("dtype", [](const Block& b) { return to_string(b.header.dtype); });
  columns.numbers<int32_t>("block_index", [](const Block& b) { return b.header.block_index; });
  columns.numbers<int64_t>("row_start", [](const Block& b) { return b.header.row_start; });
  columns.numbers<int64_t>("row_count", [](const Block& b) { return b.header.row_count; });
  columns.numbers<int64_t>("num_params", [](const Block& b) { return b.header.num_params; });
  columns.texts("quant_type", [](const Block& b) { return b.header.quant_type(); });
  columns.numbers<int32_t>("bit_width", [](const Block& b) { return b.header.bit_width; });
  columns.numbers<int32_t>("group_size", [](const Block& b) { return b.header.group_size; });
  columns.numbers<int32_t>("quant_axis", [](const Block& b) { return b.header.quantized; });
  columns.texts("packing", [](const Block& b) {
    return b.header.quantized ? kPackingLsbFirst : std::string_view();
  });
  columns.texts("param_encoding", [](const Block& b) {
    return b.header.quantized ? kParamEncodingFp16 : std::string_view();
  });
  columns.numbers<float>("tensor_scale", [](const Block& b) { return b.header.tensor_scale; });
  columns.texts("method", [](const Block& b) { return std::string_view(b.header.method); });
  columns.booleans("is_diffusion_model", &BlockHeader::is_diffusion_model);
  columns.texts("modality", [](const Block& b) { return std::string_view(b.header.modality); });
  columns.texts("component", [](const Block& b) { return std::string_view(b.header.component); });
  columns.optional_floats("cosine_similarity",
                          [](const Block& b) { return b.header.cosine_similarity; });
  columns.optional_floats("sqnr_db", [](const Block& b) { return b.header.sqnr_db; });
  columns.optional_floats("max_abs_error", [](const Block& b) { return b.header.max_abs_error; });
  columns.numbers<uint64_t>("checksum", [](const Block& b) {
    return xxh3_64({b.codes(), b.data_size_bytes});
  });
  columns.texts("kept_reason",
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
  written.param_bytes = columns.params();
  write_header_columns(columns);
  write_unused_columns(columns);
  metadata.Finish(columns.total_bytes());
  return written;
}

int64_t compressed_param_bytes(QuantizedBlock& block) {
  const auto file = parquet::FileMetaDataBuilder::Make(&part_schema(), part_writer_properties());
  Columns columns({&block, 1}, *file->AppendRowGroup(),
                  std::make_shared<arrow::io::MockOutputStream>());
  return columns.params();
}

}  // namespace arrow_quant
