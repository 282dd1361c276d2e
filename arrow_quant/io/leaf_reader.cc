#include "arrow_quant/io/leaf_reader.h"

#include <utility>

#include <parquet/column_reader.h>
#include <parquet/types.h>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

constexpr int64_t kBatch = 256;
// More levels per row than any small column has; a file that claims more is broken.
constexpr int64_t kMaxLevelsPerRow = 256;

// The definition level from which on a level stands for an element of the list.
int16_t element_level(const parquet::ColumnDescriptor& leaf) {
  int16_t below = 0;
  for (const parquet::schema::Node* node = leaf.schema_node().get(); !node->is_repeated();
       node = node->parent()) {
    below += node->is_optional();
    if (node->parent() == nullptr) {
      return leaf.max_definition_level();
    }
  }
  return static_cast<int16_t>(leaf.max_definition_level() - below);
}

std::string as_string(const parquet::ByteArray& value) {
  return {reinterpret_cast<const char*>(value.ptr), value.len};
}

}  // namespace

void LeafReader::fail(const std::string& problem) const {
  throw Error(ErrorCode::Metadata, file_ + ": column '" + name_ + "' " + problem);
}

template <class Type, class T, class F>
RowValues<T> LeafReader::rows(F convert) const {
  const auto column = row_group_.Column(leaf_);
  auto& reader = static_cast<parquet::TypedColumnReader<Type>&>(*column);
  const parquet::ColumnDescriptor& descriptor = *column->descr();
  const int16_t max_definition = descriptor.max_definition_level();
  const bool is_list = descriptor.max_repetition_level() > 0;
  const int16_t element = element_level(descriptor);
  const int64_t num_rows = row_group_.metadata()->num_rows();

  RowValues<T> rows;
  int16_t definition[kBatch], repetition[kBatch];
  typename Type::c_type values[kBatch];
  int64_t num_levels = 0;
  while (reader.HasNext()) {
    int64_t num_values = 0;
    const int64_t levels = reader.ReadBatch(kBatch, definition, repetition, values, &num_values);
    num_levels += levels;
    if (levels == 0 || num_levels > num_rows * kMaxLevelsPerRow) {
      fail("is damaged or has more values than its rows can hold");
    }
    int64_t next = 0;
    for (int64_t i = 0; i < levels; ++i) {
      if (!is_list || repetition[i] == 0) {
        rows.ends.push_back(rows.values.size());
      } else if (rows.ends.empty()) {
        fail("begins inside a list");
      }
      if (max_definition == 0 || definition[i] == max_definition) {
        if (next == num_values) {
          fail("has fewer values than it announces");
        }
        rows.values.push_back(convert(values[next++]));
        rows.ends.back() = rows.values.size();
      } else if (is_list && definition[i] >= element) {
        fail("has a null inside a list");
      }
    }
  }
  if (static_cast<int64_t>(rows.ends.size()) != num_rows) {
    fail("has " + std::to_string(rows.ends.size()) + " rows in a row group of " +
         std::to_string(num_rows));
  }
  return rows;
}

template <class T>
std::vector<T> LeafReader::one_each(RowValues<T> rows) const {
  for (size_t i = 0; i < rows.ends.size(); ++i) {
    if (rows.ends[i] != i + 1) {
      fail("has a null or a list where one value is needed");
    }
  }
  return std::move(rows.values);
}

std::vector<int64_t> LeafReader::integers() const {
  return one_each(integer_lists());
}

RowValues<int64_t> LeafReader::integer_lists() const {
  const auto same = [](auto value) { return int64_t{value}; };
  switch (row_group_.metadata()->schema()->Column(leaf_)->physical_type()) {
    case parquet::Type::INT32:
      return rows<parquet::Int32Type, int64_t>(same);
    case parquet::Type::INT64:
      return rows<parquet::Int64Type, int64_t>(same);
    default:
      fail("does not hold integers");
  }
}

RowValues<float> LeafReader::float_lists() const {
  const auto narrow = [](auto value) { return static_cast<float>(value); };
  switch (row_group_.metadata()->schema()->Column(leaf_)->physical_type()) {
    case parquet::Type::FLOAT:
      return rows<parquet::FloatType, float>(narrow);
    case parquet::Type::DOUBLE:
      return rows<parquet::DoubleType, float>(narrow);
    default:
      fail("does not hold floating-point numbers");
  }
}

std::vector<float> LeafReader::floats() const {
  return one_each(float_lists());
}

std::vector<std::optional<float>> LeafReader::optional_floats() const {
  const RowValues<float> rows = float_lists();
  std::vector<std::optional<float>> out(rows.ends.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const auto row = rows.row(i);
    if (row.size() > 1) {
      fail("has a list where one value is needed");
    }
    if (!row.empty()) {
      out[i] = row[0];
    }
  }
  return out;
}

std::vector<uint8_t> LeafReader::booleans() const {
  if (row_group_.metadata()->schema()->Column(leaf_)->physical_type() != parquet::Type::BOOLEAN) {
    fail("does not hold booleans");
  }
  return one_each(rows<parquet::BooleanType, uint8_t>([](bool value) { return uint8_t{value}; }));
}

RowValues<std::string> LeafReader::string_lists() const {
  if (row_group_.metadata()->schema()->Column(leaf_)->physical_type() !=
      parquet::Type::BYTE_ARRAY) {
    fail("does not hold strings");
  }
  return rows<parquet::ByteArrayType, std::string>(as_string);
}

std::vector<std::string> LeafReader::strings() const {
  return one_each(string_lists());
}

std::vector<size_t> LeafReader::byte_lengths() const {
  if (row_group_.metadata()->schema()->Column(leaf_)->physical_type() !=
      parquet::Type::BYTE_ARRAY) {
    fail("does not hold bytes");
  }
  return one_each(rows<parquet::ByteArrayType, size_t>(
      [](const parquet::ByteArray& value) { return size_t{value.len}; }));
}

}  // namespace arrow_quant
