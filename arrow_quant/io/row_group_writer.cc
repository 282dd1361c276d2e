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

  // count: const QuantizedBlock& → number of elements. add(body, block) appends these.
  template <class Count, class Add>
  void lists(int leaf, Count count, Add add) {
    Levels repetition, definition;
    for (const QuantizedBlock& block : blocks_) {
      const size_t num_elements = count(block);
      repetition.add(false);
      repetition.add(true, std::max<size_t>(num_elements, 1) - 1);
      definition.add(num_elements > 0, std::max<size_t>(num_elements, 1));
    }
    PageBody body;
    body.add_levels(repetition);
    body.add_levels(definition);
    for (const QuantizedBlock& block : blocks_) {
      add(body, block);
    }
    write(leaf, body, definition.count());
  }

  // list: const QuantizedBlock& → span of bytes, the elements of element_bytes each.
  template <class F>
  void lists(int leaf, size_t element_bytes, F list) {
    lists(
        leaf, [&](const QuantizedBlock& block) { return list(block).size() / element_bytes; },
        [&](PageBody& body, const QuantizedBlock& block) { body.add_bytes(list(block)); });
  }

  void booleans(std::string_view name, bool BlockHeader::*value);
  void shapes();
  void transforms();
  // Each returns the column's bytes as stored; 0 if all its values are empty.
  int64_t halves(std::string_view name, Buffer QuantizedBlock::*buffer);
  int64_t binaries(std::string_view name, std::vector<uint16_t> BlockExtras::*values);
  int64_t input_scales();
  int64_t activations();
  int64_t extras() {
    return binaries("low_rank_u", &BlockExtras::low_rank_u) +
           binaries("low_rank_v", &BlockExtras::low_rank_v) + input_scales() +
           binaries("bias_corrections", &BlockExtras::bias_corrections) + activations();
  }
  int64_t params() {
    return halves("scales", &QuantizedBlock::scales) + halves("offsets", &QuantizedBlock::offsets);
  }
  std::unique_ptr<parquet::OffsetIndexBuilder> data();

  int64_t total_bytes() const { return total_bytes_; }

 private:
  int leaf(std::string_view name) const { return find_leaf(part_schema(), name); }
  // Of a column that was written; is_empty: const QuantizedBlock& → whether it has no value there.
  template <class F>
  int64_t stored_bytes(int leaf, F is_empty) const {
    return std::all_of(blocks_.begin(), blocks_.end(), is_empty)
               ? 0
               : chunks_[static_cast<size_t>(leaf)]->total_compressed_size();
  }
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
      /*page_write_checksum_enabled=*/leaf != find_leaf(part_schema(), "data"), nullptr, pages,
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

void Columns::transforms() {
  lists(
      leaf("transforms"), [](const QuantizedBlock& b) { return b.header.extras.transforms.size(); },
      [](PageBody& body, const QuantizedBlock& b) {
        for (const Transform transform : b.header.extras.transforms) {
          body.add_text(to_string(transform));
        }
      });
}

int64_t Columns::halves(std::string_view name, Buffer QuantizedBlock::*buffer) {
  const int column = leaf(name);
  lists(column, sizeof(uint16_t),
        [buffer](const QuantizedBlock& block) { return (block.*buffer).bytes(); });
  return stored_bytes(column,
                      [buffer](const QuantizedBlock& block) { return (block.*buffer).empty(); });
}

int64_t Columns::binaries(std::string_view name, std::vector<uint16_t> BlockExtras::*values) {
  texts(name, [values](const QuantizedBlock& block) {
    const std::vector<uint16_t>& v = block.header.extras.*values;
    return std::string_view(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(uint16_t));
  });
  return stored_bytes(leaf(name), [values](const QuantizedBlock& block) {
    return (block.header.extras.*values).empty();
  });
}

int64_t Columns::input_scales() {
  const int column = leaf("input_scale");
  lists(column, sizeof(float), [](const QuantizedBlock& block) {
    const std::vector<float>& scale = block.header.extras.input_scale;
    return std::span(reinterpret_cast<const uint8_t*>(scale.data()), scale.size() * sizeof(float));
  });
  return stored_bytes(column,
                      [](const QuantizedBlock& b) { return b.header.extras.input_scale.empty(); });
}

int64_t Columns::activations() {
  int column = leaf("act");
  int64_t bytes = 0;
  for (float ActivationRange::*const field :
       {&ActivationRange::clip, &ActivationRange::scale, &ActivationRange::zero_point}) {
    lists(
        column, [](const QuantizedBlock& b) { return b.header.extras.act.size(); },
        [field](PageBody& body, const QuantizedBlock& b) {
          for (const ActivationRange& range : b.header.extras.act) {
            body.add(range.*field);
          }
        });
    bytes +=
        stored_bytes(column, [](const QuantizedBlock& b) { return b.header.extras.act.empty(); });
    ++column;
  }
  return bytes;
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

void write_extras_columns(Columns& columns) {
  using Block = QuantizedBlock;
  columns.transforms();
  columns.numbers<int32_t>("hadamard_block",
                           [](const Block& b) { return b.header.extras.hadamard_block; });
  columns.numbers<int32_t>("rank", [](const Block& b) { return b.header.extras.rank; });
  columns.texts("bias_encoding", [](const Block& b) {
    return b.header.extras.bias_groups > 0 ? kBiasEncodingFp16 : std::string_view();
  });
  columns.numbers<int32_t>("act_bits", [](const Block& b) { return b.header.extras.act_bits; });
  columns.texts("act_mode", [](const Block& b) { return to_string(b.header.extras.act_mode); });
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
  columns.optional_floats("output_sqnr_db", [](const Block& b) { return b.header.output_sqnr_db; });
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
  written.param_bytes = columns.params() + columns.extras();
  write_header_columns(columns);
  write_extras_columns(columns);
  metadata.Finish(columns.total_bytes());
  return written;
}

int64_t compressed_param_bytes(QuantizedBlock& block) {
  const auto file = parquet::FileMetaDataBuilder::Make(&part_schema(), part_writer_properties());
  Columns columns({&block, 1}, *file->AppendRowGroup(),
                  std::make_shared<arrow::io::MockOutputStream>());
  const int64_t params = columns.params();
  return block.header.extras == BlockExtras() ? params : params + columns.extras();
}

}  // namespace arrow_quant
