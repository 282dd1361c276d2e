// The columns of a part file as Parquet sees them, and how each is stored.
#pragma once

#include <memory>
#include <string_view>

#include <parquet/properties.h>
#include <parquet/schema.h>

namespace arrow_quant {

// The schema of every part file; built once.
const parquet::SchemaDescriptor& part_schema();

// Plain and uncompressed, but for scales and offsets (zstd); no dictionaries and statistics.
// Pages have checksums, but for those of `data`, which has one of its own that is faster.
const std::shared_ptr<parquet::WriterProperties>& part_writer_properties();

// Compares the checksums of pages that have one.
parquet::ReaderProperties part_reader_properties();

// The number of the first leaf below the top-level column `name`; −1 if there is none.
int find_leaf(const parquet::SchemaDescriptor& schema, std::string_view name);

}  // namespace arrow_quant
