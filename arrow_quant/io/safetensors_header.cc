#include "arrow_quant/io/safetensors_header.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/quote.h"

namespace arrow_quant {
namespace {

using nlohmann::json;

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kRemedy = "; write the file again with the safetensors library";
// The depth at which the reference implementation gives up. Only ignored fields nest at all.
constexpr int kMaxDepth = 128;
// What PyTorch and NumPy can hold. A dimension takes 2 bytes in a header and 8 in memory.
constexpr size_t kMaxDimensions = 64;

// Follows the parser's events. The parser keeps its own stack on the heap, so nesting is harmless.
class HeaderHandler final : public nlohmann::json_sax<json> {
 public:
  explicit HeaderHandler(const std::filesystem::path& path) : path_(path) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override {
    // Writers in Rust put null where there is no metadata.
    return (where_ == Where::Header && key_ == kMetadataKey) || scalar("null");
  }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(int64_t value) override { return scalar(std::to_string(value)); }
  bool number_float(double, const std::string& text) override { return scalar(text); }
  bool binary(json::binary_t&) override { return scalar("binary data"); }
  bool number_unsigned(uint64_t value) override;
  bool string(std::string& value) override;
  bool key(std::string& value) override;
  bool start_object(size_t) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&, const json::exception& error) override;

 private:
  enum class Where { Start, Header, Metadata, Entry, Shape, Offsets, Ignored };
  enum class Field { None, DType, Shape, Offsets, Other };

  bool scalar(std::string_view found);
  void open_ignored();
  void finish_entry();
  [[noreturn]] void unexpected(std::string_view found) const;
  [[noreturn]] void fail(const std::string& problem) const;
  std::string tensor() const { return "tensor " + quote(header_.tensors.back().name); }

  const std::filesystem::path& path_;
  SafetensorsHeader header_;
  Where where_ = Where::Start;
  Field field_ = Field::None;
  std::string key_;  // the last one in Header, Metadata or Entry
  bool has_metadata_ = false;
  int ignored_depth_ = 0;
  // Of the entry being read:
  std::optional<DType> dtype_;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::vector<uint64_t> offsets_;
};

bool HeaderHandler::number_unsigned(uint64_t value) {
  if (where_ == Where::Shape) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      unexpected(std::to_string(value));
    }
    auto& shape = header_.tensors.back().shape;
    if (shape.size() == kMaxDimensions) {
      fail(tensor() + " has more than " + std::to_string(kMaxDimensions) + " dimensions");
    }
    shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (where_ == Where::Offsets) {
    if (offsets_.size() == 2) {
      fail(tensor() + ": \"data_offsets\" holds more than two numbers; [begin, end] is expected");
    }
    offsets_.push_back(value);
    return true;
  }
  return scalar(std::to_string(value));
}

bool HeaderHandler::string(std::string& value) {
  if (where_ == Where::Metadata) {
    header_.metadata.emplace(key_, std::move(value));
    return true;
  }
  if (where_ == Where::Entry && field_ == Field::DType) {
    dtype_ = parse_dtype(value);
    if (!dtype_) {
      std::string known;
      for (int i = 0; i <= static_cast<int>(DType::F64); ++i) {
        known += (i == 0 ? "" : " ") + std::string(to_string(static_cast<DType>(i)));
      }
      fail(tensor() + ": dtype " + quote(value) + " is unknown; known are " + known);
    }
    return true;
  }
  return scalar(where_ == Where::Ignored ? "" : quote(value));
}

bool HeaderHandler::key(std::string& value) {
  if (where_ == Where::Ignored) {
    return true;
  }
  key_ = std::move(value);
  if (where_ == Where::Metadata && header_.metadata.count(key_) != 0) {
    fail("\"__metadata__\" holds the key " + quote(key_) + " twice");
  }
  if (where_ == Where::Header && key_ == kMetadataKey && std::exchange(has_metadata_, true)) {
    fail("the header holds \"__metadata__\" twice");
  }
  if (where_ != Where::Entry) {
    return true;
  }
  bool again = false;
  if (key_ == "dtype") {
    again = dtype_.has_value();
    field_ = Field::DType;
  } else if (key_ == "shape") {
    again = std::exchange(has_shape_, true);
    field_ = Field::Shape;
  } else if (key_ == "data_offsets") {
    again = std::exchange(has_offsets_, true);
    field_ = Field::Offsets;
  } else {
    field_ = Field::Other;
  }
  if (again) {
    fail(tensor() + " holds the key \"" + key_ + "\" twice");
  }
  return true;
}

bool HeaderHandler::start_object(size_t) {
  if (where_ == Where::Start) {
    where_ = Where::Header;
  } else if (where_ == Where::Header && key_ == kMetadataKey) {
    where_ = Where::Metadata;
  } else if (where_ == Where::Header) {
    where_ = Where::Entry;
    header_.tensors.emplace_back().name = key_;
    dtype_.reset();
    has_shape_ = has_offsets_ = false;
    offsets_.clear();
  } else if (where_ == Where::Ignored || (where_ == Where::Entry && field_ == Field::Other)) {
    open_ignored();
  } else {
    unexpected("an object");
  }
  return true;
}

bool HeaderHandler::end_object() {
  if (where_ == Where::Ignored) {
    return end_array();
  }
  if (where_ == Where::Entry) {
    finish_entry();
  }
  where_ = where_ == Where::Header ? Where::Start : Where::Header;
  return true;
}

bool HeaderHandler::start_array(size_t) {
  if (where_ == Where::Entry && field_ == Field::Shape) {
    where_ = Where::Shape;
  } else if (where_ == Where::Entry && field_ == Field::Offsets) {
    where_ = Where::Offsets;
  } else if (where_ == Where::Ignored || (where_ == Where::Entry && field_ == Field::Other)) {
    open_ignored();
  } else {
    unexpected("an array");
  }
  return true;
}

bool HeaderHandler::end_array() {
  if (where_ != Where::Ignored || --ignored_depth_ == 0) {
    where_ = Where::Entry;
  }
  return true;
}

bool HeaderHandler::parse_error(size_t position, const std::string&, const json::exception& error) {
  const std::string_view text = error.what();  // "[json.exception.…] parse error at …: problem"
  const size_t start = text.find("] ");
  fail("the header is not valid JSON at its byte " + std::to_string(position) + ": " +
       printable(start == std::string_view::npos ? text : text.substr(start + 2)));
}

bool HeaderHandler::scalar(std::string_view found) {
  if (where_ != Where::Ignored && !(where_ == Where::Entry && field_ == Field::Other)) {
    unexpected(found);
  }
  return true;
}

void HeaderHandler::open_ignored() {
  where_ = Where::Ignored;
  if (++ignored_depth_ > kMaxDepth) {
    fail(tensor() + ": field " + quote(key_) + " is nested more than " + std::to_string(kMaxDepth) +
         " levels deep");
  }
}

void HeaderHandler::finish_entry() {
  const auto require = [&](bool there, const char* field) {
    if (!there) {
      fail(tensor() + " has no \"" + field + "\"; dtype, shape and data_offsets are required");
    }
  };
  require(dtype_.has_value(), "dtype");
  require(has_shape_, "shape");
  require(has_offsets_, "data_offsets");
  if (offsets_.size() != 2) {
    fail(tensor() + ": \"data_offsets\" holds " + std::to_string(offsets_.size()) +
         " numbers; [begin, end] is expected");
  }
  if (offsets_[0] > offsets_[1]) {
    fail(tensor() + ": data_offsets [" + std::to_string(offsets_[0]) + ", " +
         std::to_string(offsets_[1]) + "] end before they begin");
  }
  TensorInfo& info = header_.tensors.back();
  info.dtype = *dtype_;
  info.begin = offsets_[0];
  info.size_bytes = offsets_[1] - offsets_[0];
  info.shape.shrink_to_fit();
}

void HeaderHandler::unexpected(std::string_view found) const {
  const std::string is = " is " + std::string(found) + "; ";
  switch (where_) {
    case Where::Start:
      fail("the header" + is + "an object is expected");
    case Where::Header:
      fail((key_ == kMetadataKey ? "\"__metadata__\"" : "tensor " + quote(key_)) + is +
           "an object is expected");
    case Where::Metadata:
      fail("\"__metadata__\": the value of " + quote(key_) + is + "only strings are allowed");
    case Where::Entry:
      fail(tensor() + ": \"" + key_ + "\"" + is +
           (field_ == Field::DType ? "a string is expected" : "an array of integers is expected"));
    case Where::Shape:
      fail(tensor() + ": a dimension of \"shape\"" + is +
           "allowed are integers from 0 to 2^63 − 1");
    case Where::Offsets:
      fail(tensor() + ": a number of \"data_offsets\"" + is +
           "allowed are integers from 0 to the size of the data");
    case Where::Ignored:
      break;  // anything may stand there
  }
  fail("the header has an unexpected value");
}

void HeaderHandler::fail(const std::string& problem) const {
  throw Error(ErrorCode::InvalidModel, path_.string() + ": " + problem + std::string(kRemedy));
}

void check_names_are_unique(const std::vector<TensorInfo>& tensors,
                            const std::filesystem::path& path) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorInfo& info : tensors) {
    names.push_back(info.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    throw Error(ErrorCode::InvalidModel, path.string() + ": the header holds tensor " +
                                             quote(*twice) + " twice" + std::string(kRemedy));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text,
                                           const std::filesystem::path& path) {
  // The parser takes a NUL for the end of its input, whatever follows.
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    throw Error(ErrorCode::InvalidModel, path.string() + ": the header is not valid JSON: byte " +
                                             std::to_string(nul) + " is 0; pad with spaces" +
                                             std::string(kRemedy));
  }
  HeaderHandler handler(path);
  json::sax_parse(text, &handler);
  SafetensorsHeader header = handler.take();
  check_names_are_unique(header.tensors, path);
  return header;
}

}  // namespace arrow_quant
