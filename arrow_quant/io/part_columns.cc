#include "arrow_quant/io/part_columns.h"

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/parquet_schema.h"

namespace arrow_quant {

PartColumns::PartColumns(const parquet::SchemaDescriptor& schema, const std::string& file) {
  for (int i = 0; i < part_schema().num_columns(); ++i) {
    const std::string& name = part_schema().GetColumnRoot(i)->name();
    const int leaf = find_leaf(schema, name);
    if (leaf < 0) {
      throw Error(ErrorCode::Metadata,
                  file + " has no column '" + name + "': it is not a part of a quantized model");
    }
    if (schema.Column(leaf)->max_repetition_level() > 1) {
      throw Error(ErrorCode::Metadata, file + ": column '" + name + "' has lists of lists");
    }
    leaves_[name] = leaf;
  }
}

}  // namespace arrow_quant
