// Text for people: tables with aligned columns, sizes and times in handy units. Names come from
// files, so what would steer a terminal is never passed on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace arrow_quant::cli {

enum class Align { Left, Right };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::Left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column.
  void add_row(std::vector<std::string> cells);
  // The titles, a rule and the rows; each line ends in a newline, none in a blank.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// `text` with control characters replaced by '?', newlines included.
std::string printable(std::string_view text);
// Characters, not bytes, of UTF-8 text.
size_t width_of(std::string_view text);

std::string fixed(double value, int decimals);  // "20.41", "inf"
std::string size_text(double bytes);            // "512 B", "17.4 kB", "3.21 GB"; decimal units
std::string duration_text(double seconds);      // "0.25 s", "1:05", "2:03:04"
std::string joined(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace arrow_quant::cli
