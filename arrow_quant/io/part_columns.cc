#include "arrow_quant/io/part_columns.h"

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/parquet_schema.h"

namespace arrow_quant {
namespace {

// The first leaf of column `name`, of its field `field` unless that is empty; −1 if there is none.
int find_field(const parquet::SchemaDescriptor& schema, const std::string& name,
               const std::string& field) {
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
    if (schema.GetColumnRoot(leaf)->name() == name &&
        (field.empty() || schema.Column(leaf)->name() == field)) {
      return leaf;
    }
  }
  return -1;
}

// The field of a structure that a leaf of our own schema is; "" if it is none.
std::string field_of(int leaf) {
  const parquet::SchemaDescriptor& schema = part_schema();
  return schema.GetColumnRoot(leaf)->name() == "act" ? schema.Column(leaf)->name() : "";
}

}  // namespace

PartColumns::PartColumns(const parquet::SchemaDescriptor& schema, const std::string& file) {
  for (int i = 0; i < part_schema().num_columns(); ++i) {
    const std::string& name = part_schema().GetColumnRoot(i)->name();
    const std::string field = field_of(i);
    const int leaf = find_field(schema, name, field);
    if (leaf < 0) {
      throw Error(ErrorCode::Metadata, file + " has no column '" + name + "'" +
                                           (field.empty() ? "" : " with a field '" + field + "'") +
                                           ": it is not a part of a quantized model");
    }
    if (schema.Column(leaf)->max_repetition_level() > 1) {
      throw Error(ErrorCode::Metadata, file + ": column '" + name + "' has lists of lists");
    }
    leaves_[field.empty() ? name : name + "." + field] = leaf;
  }
}

}  // namespace arrow_quant
