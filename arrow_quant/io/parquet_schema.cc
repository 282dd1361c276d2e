#include "arrow_quant/io/parquet_schema.h"

#include <arrow/type.h>
#include <parquet/arrow/schema.h>
#include <parquet/exception.h>

namespace arrow_quant {
namespace {

std::shared_ptr<arrow::DataType> list_of(std::shared_ptr<arrow::DataType> type) {
  return arrow::list(arrow::field("element", std::move(type), /*nullable=*/false));
}

std::shared_ptr<arrow::Schema> arrow_schema() {
  const auto activation = arrow::struct_({
      arrow::field("clip", arrow::float32(), false),
      arrow::field("scale", arrow::float32(), false),
      arrow::field("zero_point", arrow::float32(), false),
  });
  const auto required = [](const char* name, std::shared_ptr<arrow::DataType> type) {
    return arrow::field(name, std::move(type), /*nullable=*/false);
  };
  return arrow::schema({
      required("layer_name", arrow::utf8()),
      required("shape", list_of(arrow::int64())),
      required("dtype", arrow::utf8()),
      required("block_index", arrow::int32()),
      required("row_start", arrow::int64()),
      required("row_count", arrow::int64()),
      required("data", arrow::binary()),
      required("num_params", arrow::int64()),
      required("quant_type", arrow::utf8()),
      required("bit_width", arrow::int8()),
      required("group_size", arrow::int32()),
      required("quant_axis", arrow::int32()),
      required("packing", arrow::utf8()),
      required("param_encoding", arrow::utf8()),
      required("scales", list_of(arrow::float16())),
      required("offsets", list_of(arrow::float16())),
      required("tensor_scale", arrow::float32()),
      required("method", arrow::utf8()),
      required("transforms", list_of(arrow::utf8())),
      required("hadamard_block", arrow::int32()),
      required("low_rank_u", arrow::binary()),
      required("low_rank_v", arrow::binary()),
      required("rank", arrow::int32()),
      required("input_scale", list_of(arrow::float32())),
      required("bias_corrections", arrow::binary()),
      required("bias_encoding", arrow::utf8()),
      required("act_bits", arrow::int8()),
      required("act_mode", arrow::utf8()),
      required("act", list_of(activation)),
      required("is_diffusion_model", arrow::boolean()),
      required("modality", arrow::utf8()),
      required("component", arrow::utf8()),
      arrow::field("cosine_similarity", arrow::float32()),
      arrow::field("sqnr_db", arrow::float32()),
      arrow::field("max_abs_error", arrow::float32()),
      arrow::field("output_sqnr_db", arrow::float32()),
      required("checksum", arrow::uint64()),
      required("kept_reason", arrow::utf8()),
  });
}

}  // namespace

const parquet::SchemaDescriptor& part_schema() {
  static const std::shared_ptr<parquet::SchemaDescriptor> schema = [] {
    std::shared_ptr<parquet::SchemaDescriptor> out;
    PARQUET_THROW_NOT_OK(
        parquet::arrow::ToParquetSchema(arrow_schema().get(), *part_writer_properties(), &out));
    return out;
  }();
  return *schema;
}

const std::shared_ptr<parquet::WriterProperties>& part_writer_properties() {
  // Plain rather than byte-stream-split: DuckDB does not read the latter for two-byte values.
  // zstd takes a quarter off at 1.5 GB/s, and parameters are a sixteenth of 4-bit codes.
  static const std::shared_ptr<parquet::WriterProperties> properties = [] {
    parquet::WriterProperties::Builder builder;
    builder.version(parquet::ParquetVersion::PARQUET_2_6)
        ->data_page_version(parquet::ParquetDataPageVersion::V1)
        ->created_by("arrow-quant version " ARROW_QUANT_VERSION)
        ->disable_dictionary()
        ->disable_statistics()
        ->disable_write_page_index()
        ->enable_page_checksum()
        ->set_size_statistics_level(parquet::SizeStatisticsLevel::None)
        ->encoding(parquet::Encoding::PLAIN)
        ->compression(parquet::Compression::UNCOMPRESSED);
    for (const char* path : {"scales.list.element", "offsets.list.element"}) {
      builder.compression(path, parquet::Compression::ZSTD)->compression_level(path, 1);
    }
    return builder.build();
  }();
  return properties;
}

parquet::ReaderProperties part_reader_properties() {
  parquet::ReaderProperties properties;
  properties.set_page_checksum_verification(true);
  return properties;
}

int find_leaf(const parquet::SchemaDescriptor& schema, std::string_view name) {
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
    if (schema.GetColumnRoot(leaf)->name() == name) {
      return leaf;
    }
  }
  return -1;
}

}  // namespace arrow_quant
