// Part files as Arrow tables, to be altered and written as another tool would.
#pragma once

#include <arrow/io/file.h>
#include <arrow/json/from_string.h>
#include <arrow/table.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/io/part_reader.h"
#include "arrow_quant/io/part_test_util.h"

namespace arrow_quant {

using TablePtr = std::shared_ptr<arrow::Table>;
using Properties = parquet::WriterProperties::Builder;

template <class T>
T must(arrow::Result<T> result) {
  if (!result.ok()) {
    throw std::runtime_error(result.status().ToString());
  }
  return *std::move(result);
}

inline void must(const arrow::Status& status) {
  if (!status.ok()) {
    throw std::runtime_error(status.ToString());
  }
}

inline TablePtr load_table(const std::filesystem::path& path) {
  const auto file = must(arrow::io::ReadableFile::Open(path.string()));
  const auto reader = must(parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
  return must(reader->ReadTable());
}

inline void save_table(const TablePtr& table, const std::filesystem::path& path,
                       Properties properties, int64_t rows_per_group = 1 << 20) {
  const auto file = must(arrow::io::FileOutputStream::Open(path.string()));
  must(parquet::arrow::WriteTable(
      *table, arrow::default_memory_pool(), file, rows_per_group, properties.build(),
      parquet::ArrowWriterProperties::Builder().store_schema()->build()));
  must(file->Close());
}

// One quantized and one kept tensor, row by row, with one column replaced.
class AlteredPart : public testing::Test {
 protected:
  AlteredPart() {
    std::vector<QuantizedBlock> blocks;
    blocks.push_back(quantized_block("w", {4, 64}, 4, 32));
    blocks.push_back(kept_block("k", {3}, DType::F32));
    write_part(path_, blocks);
    table_ = load_table(path_);
  }

  // What opening, then reading both blocks, throws once column `name` holds `json`.
  std::string error_with(const std::string& name, const std::string& json,
                         std::shared_ptr<arrow::DataType> type = nullptr) {
    const int i = table_->schema()->GetFieldIndex(name);
    const auto field = table_->schema()->field(i);
    type = type ? type : field->type();
    const auto array = must(arrow::json::ArrayFromJSONString(type, json));
    const auto column = std::make_shared<arrow::ChunkedArray>(array);
    return error_reading(must(table_->SetColumn(i, arrow::field(name, type), column)));
  }

  std::string error_reading(const TablePtr& table) {
    save_table(table, path_, Properties());
    return error_of([&] {
      const PartReader reader = PartReader::open(path_);
      reader.read(0);
      reader.read(1);
    });
  }

  const TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "a.parquet";
  TablePtr table_;
};

}  // namespace arrow_quant
