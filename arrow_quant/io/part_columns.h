// The format's columns in a file's schema, and the small ones of one row group by name.
#pragma once

#include <map>
#include <string>

#include <parquet/file_reader.h>

#include "arrow_quant/io/leaf_reader.h"

namespace arrow_quant {

// Where the columns stand.
class PartColumns {
 public:
  // file: for messages. Throws: Error(Metadata) naming the first column that is missing.
  PartColumns(const parquet::SchemaDescriptor& schema, const std::string& file);

  // Pre: `name` is a column of the format; of a structure's field, "column.field".
  int leaf(const std::string& name) const { return leaves_.at(name); }

 private:
  std::map<std::string, int> leaves_;
};

// The arguments outlive it.
class RowGroupColumns {
 public:
  RowGroupColumns(parquet::RowGroupReader& row_group, const PartColumns& columns,
                  const std::string& file)
      : row_group_(row_group), columns_(columns), file_(file) {}

  LeafReader operator[](const std::string& name) const {
    return {row_group_, columns_.leaf(name), name, file_};
  }
  const std::string& file() const { return file_; }

 private:
  parquet::RowGroupReader& row_group_;
  const PartColumns& columns_;
  const std::string& file_;
};

}  // namespace arrow_quant
