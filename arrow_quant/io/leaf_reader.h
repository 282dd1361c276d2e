// Values of one leaf column in one row group, whatever encoding, compression, nullability and
// integer width the file's writer chose. For the small columns: everything is held in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <parquet/file_reader.h>

namespace arrow_quant {

// Values of all rows, one after the other; row i has those before ends[i] and not before
// ends[i − 1]. A null has no value.
template <class T>
struct RowValues {
  std::vector<T> values;
  std::vector<size_t> ends;

  std::span<const T> row(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::span<const T>(values).subspan(begin, ends[i] - begin);
  }
};

// All throw Error(Metadata) where the column has another kind of values or contradicts itself,
// and parquet::ParquetException where it cannot be decoded.
class LeafReader {
 public:
  // name: of the column, and file: for messages. row_group and file outlive the reader.
  LeafReader(parquet::RowGroupReader& row_group, int leaf, std::string name,
             const std::string& file)
      : row_group_(row_group), leaf_(leaf), name_(std::move(name)), file_(file) {}

  // One value per row; a null is an error.
  std::vector<int64_t> integers() const;
  std::vector<float> floats() const;
  std::vector<uint8_t> booleans() const;
  std::vector<std::string> strings() const;
  // One value per row, or none.
  std::vector<std::optional<float>> optional_floats() const;
  RowValues<int64_t> integer_lists() const;
  RowValues<float> float_lists() const;
  RowValues<std::string> string_lists() const;
  // Of one byte array per row, none of which is kept in memory.
  std::vector<size_t> byte_lengths() const;

 private:
  [[noreturn]] void fail(const std::string& problem) const;
  template <class Type, class T, class F>
  RowValues<T> rows(F convert) const;
  template <class T>
  std::vector<T> one_each(RowValues<T> rows) const;

  parquet::RowGroupReader& row_group_;
  int leaf_;
  std::string name_;
  const std::string& file_;
};

}  // namespace arrow_quant
