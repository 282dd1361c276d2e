#include "cli/table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace arrow_quant::cli {
namespace {

constexpr size_t kGap = 2;

void append_cell(std::string& line, const std::string& cell, size_t width, Align align) {
  const size_t padding = width - width_of(cell);
  line +=
      align == Align::Right ? std::string(padding, ' ') + cell : cell + std::string(padding, ' ');
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) {
    cell = printable(cell);
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::string> titles;
  std::vector<size_t> widths;
  std::vector<std::string> rules;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = width_of(columns_[i].title);
    for (const auto& row : rows_) {
      width = std::max(width, width_of(row[i]));
    }
    titles.push_back(columns_[i].title);
    widths.push_back(width);
    rules.push_back(std::string(width, '-'));
  }
  std::string text;
  const auto append_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      line += i == 0 ? "" : std::string(kGap, ' ');
      append_cell(line, cells[i], widths[i], columns_[i].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  append_line(titles);
  append_line(rules);
  std::for_each(rows_.begin(), rows_.end(), append_line);
  return text;
}

std::string printable(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if (byte < 0x20 || byte == 0x7F) {
      result += '?';
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 … U+009F
      result += '?';
      ++i;
    } else {
      result += text[i];
    }
  }
  return result;
}

size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string fixed(double value, int decimals) {
  if (std::isnan(value)) {
    return "nan";  // whatever its sign
  }
  std::array<char, 400> text;  // the largest double has 309 digits
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

std::string size_text(double bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  // 999.5 would be shown as "1000".
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
  return fixed(bytes, decimals) + " " + kUnits[unit];
}

std::string duration_text(double seconds) {
  if (seconds < 59.995) {
    return fixed(seconds, seconds < 9.995 ? 2 : 1) + " s";
  }
  const auto total = static_cast<long long>(std::min(std::round(seconds), 3.6e9));
  std::array<char, 64> text;
  if (total < 3600) {
    std::snprintf(text.data(), text.size(), "%lld:%02lld", total / 60, total % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%lld:%02lld:%02lld", total / 3600, total / 60 % 60,
                  total % 60);
  }
  return text.data();
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    text += (i == 0 ? "" : std::string(separator)) + parts[i];
  }
  return text;
}

}  // namespace arrow_quant::cli
