// Bulk bytes of single rows of a part file: codes and parameters, read where they lie if the file
// holds them as PartWriter wrote them, else decoded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/io/interfaces.h>
#include <parquet/file_reader.h>

#include "arrow_quant/core/buffer.h"

namespace arrow_quant {

class BlockSource {
 public:
  BlockSource(std::shared_ptr<arrow::io::RandomAccessFile> file, std::string name,
              std::shared_ptr<parquet::FileMetaData> metadata, int data_leaf);

  // Finds the pages of a row group's `data`. To be called for each row group, in order.
  void add_row_group(parquet::ParquetFileReader& reader);

  // The value of `data`, of `size_bytes` bytes, after QuantizedBlock::kDataPrefixBytes of room.
  // Throws: Error(Metadata) where it has another size; parquet::ParquetException.
  Buffer read_data(int row_group, int64_t row, size_t size_bytes) const;

  // The fp16 list of `leaf`, of `count` values. Throws: like read_data.
  Buffer read_halves(int leaf, int row_group, int64_t row, size_t count) const;

  // The binary value of `leaf`, of `count` numbers of two bytes. Throws: like read_data.
  std::vector<uint16_t> read_words(int leaf, int row_group, int64_t row, size_t count) const;

  // The list of floats of `leaf`, of `count` values. Throws: like read_data.
  std::vector<float> read_floats(int leaf, int row_group, int64_t row, size_t count) const;

 private:
  // A page that holds the value of one row.
  struct Page {
    int64_t begin = 0;
    int64_t end = 0;  // its value is the last bytes; end = begin: not known, decode
  };

  std::optional<Buffer> read_page(const Page& page, size_t size_bytes) const;
  template <class F>
  void decode_binary(int leaf, int row_group, int64_t row, size_t size_bytes, F take) const;
  [[noreturn]] void fail(int leaf, int row_group, int64_t row, const std::string& problem) const;

  std::shared_ptr<arrow::io::RandomAccessFile> file_;
  std::string name_;
  std::unique_ptr<parquet::ParquetFileReader> decoder_;  // reads page by page
  int data_leaf_;
  std::vector<std::vector<Page>> pages_;  // [row group][row]; empty: decode
};

}  // namespace arrow_quant
