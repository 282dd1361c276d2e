#include "arrow_quant/io/safetensors.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <string_view>
#include <tuple>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/quote.h"
#include "arrow_quant/io/safetensors_header.h"

namespace arrow_quant {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr const char* kRemedy = "; download the file again, or save it again";
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // of the reference implementation

[[noreturn]] void fail(const InputFile& file, const std::string& problem) {
  throw Error(ErrorCode::InvalidModel, file.path().string() + ": " + problem);
}

bool starts_with_any_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(), [](char a, char b) {
           return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
         });
}

// What a file that is no safetensors file is instead, with the remedy.
std::string explain_content(const InputFile& file) {
  std::string start(static_cast<size_t>(std::min<uint64_t>(file.size_bytes(), 256)), '\0');
  file.read_at(0, {reinterpret_cast<uint8_t*>(start.data()), start.size()});
  const std::string_view text = start;
  if (text.empty()) {
    return "the file is empty; fetch it again";
  }
  if (text.starts_with("version https://git-lfs")) {
    return "this is a Git LFS pointer, not the file itself; run 'git lfs pull' where it was cloned";
  }
  const std::string_view word =
      text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (starts_with_any_case(word, "<!doctype") || starts_with_any_case(word, "<html") ||
      starts_with_any_case(word, "<?xml")) {
    return "this is a web page, not a safetensors file; download it again (a login or another "
           "address may be needed)";
  }
  if (text.starts_with("PK\x03\x04") || text.starts_with("\x80\x02")) {
    return "this is a PyTorch pickle, not a safetensors file; save it with "
           "safetensors.torch.save_file";
  }
  if (text.starts_with("GGUF")) {
    return "this is a GGUF file, not a safetensors file; take the model's original weights";
  }
  return "this is not a safetensors file, or it is damaged; fetch it again";
}

std::string read_header(const InputFile& file) {
  if (file.size_bytes() < kLengthBytes) {
    fail(file,
         std::to_string(file.size_bytes()) +
             " bytes are fewer than the 8 that hold the header's length: " + explain_content(file));
  }
  uint8_t bytes[kLengthBytes];
  file.read_at(0, bytes);
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  }
  if (length > kMaxHeaderBytes) {
    fail(file, "the header's length would be " + std::to_string(length) + " bytes, at most " +
                   std::to_string(kMaxHeaderBytes) + " are allowed: " + explain_content(file));
  }
  if (length > file.size_bytes() - kLengthBytes) {
    fail(file, "the header's length is " + std::to_string(length) + " bytes, but only " +
                   std::to_string(file.size_bytes() - kLengthBytes) +
                   " follow: " + explain_content(file));
  }
  std::string header(static_cast<size_t>(length), '\0');
  file.read_at(kLengthBytes, {reinterpret_cast<uint8_t*>(header.data()), header.size()});
  if (header.empty() || header.front() != '{') {
    fail(file, "the header does not start with '{' but with " + quote(header.substr(0, 8)) + ": " +
                   explain_content(file));
  }
  return header;
}

std::string shape_text(const TensorInfo& info) {
  std::string text = "[";
  for (size_t i = 0; i < info.shape.size(); ++i) {
    if (i == 16) {
      return text + ", …]";
    }
    text += (i == 0 ? "" : ", ") + std::to_string(info.shape[i]);
  }
  return text + "]";
}

std::string name_of(const TensorInfo& info) {
  return "tensor " + quote(info.name);
}

// Checks that type and shape need just the bytes that the tensor has. The product of the dimensions
// that are not 0 must fit as well, so that whoever multiplies some of them later cannot overflow.
void check_size(const InputFile& file, const TensorInfo& info) {
  const auto fail_size = [&](const std::string& problem) {
    fail(file, name_of(info) + " of type " + std::string(to_string(info.dtype)) + " and shape " +
                   shape_text(info) + problem + kRemedy);
  };
  int64_t num_elements = 1;
  bool is_empty = false;
  bool overflows = false;
  for (const int64_t dim : info.shape) {
    is_empty |= dim == 0;
    overflows |= dim != 0 && __builtin_mul_overflow(num_elements, dim, &num_elements);
  }
  int64_t num_bits = 0;
  overflows |= !is_empty && __builtin_mul_overflow(num_elements, bits_of(info.dtype), &num_bits);
  if (overflows) {
    fail_size(" has more elements than 64 bits can count");
  }
  if (num_bits % 8 != 0) {
    fail_size(" takes " + std::to_string(num_bits) + " bits; whole bytes are required");
  }
  if (static_cast<uint64_t>(num_bits) / 8 != info.size_bytes) {
    fail_size(" takes " + std::to_string(num_bits / 8) + " bytes, but its data_offsets [" +
              std::to_string(info.begin) + ", " + std::to_string(info.begin + info.size_bytes) +
              "] hold " + std::to_string(info.size_bytes));
  }
}

// Pre: tensors in the order of their data.
void check_layout(const InputFile& file, const std::vector<TensorInfo>& tensors,
                  uint64_t data_size_bytes) {
  uint64_t end = 0;
  const TensorInfo* previous = nullptr;
  for (const TensorInfo& info : tensors) {
    if (info.begin != end) {
      fail(file,
           name_of(info) + " begins at byte " + std::to_string(info.begin) + " of the data, " +
               (previous == nullptr ? "the data's start" : "the end of " + name_of(*previous)) +
               " is at " + std::to_string(end) + ": tensors must follow each other without " +
               (info.begin < end ? "overlap" : "a hole") + kRemedy);
    }
    end += info.size_bytes;
    if (end > data_size_bytes) {
      fail(file, name_of(info) + " ends at byte " + std::to_string(end) +
                     " of the data, but there are only " + std::to_string(data_size_bytes) +
                     ": the file is incomplete; fetch it again");
    }
    check_size(file, info);
    previous = &info;
  }
  if (end != data_size_bytes) {
    fail(file, std::to_string(data_size_bytes - end) + " bytes follow the last tensor's end at " +
                   std::to_string(end) + " of " + std::to_string(data_size_bytes) +
                   ": the tensors must cover the data exactly" + kRemedy);
  }
}

}  // namespace

uint64_t TensorInfo::num_elements() const {
  uint64_t product = 1;
  for (const int64_t dim : shape) {
    product *= static_cast<uint64_t>(dim);
  }
  return product;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile result(InputFile::open(path));
  const std::string text = read_header(result.file_);
  SafetensorsHeader header = parse_safetensors_header(text, path);
  std::sort(
      header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
        return std::tie(a.begin, a.size_bytes, a.name) < std::tie(b.begin, b.size_bytes, b.name);
      });
  result.data_begin_ = kLengthBytes + text.size();
  check_layout(result.file_, header.tensors, result.file_.size_bytes() - result.data_begin_);
  for (TensorInfo& info : header.tensors) {
    info.begin += result.data_begin_;
  }
  result.tensors_ = std::move(header.tensors);
  result.metadata_ = std::move(header.metadata);
  result.file_.map();
  return result;
}

std::span<const uint8_t> SafetensorsFile::read(const TensorInfo& tensor, uint64_t offset,
                                               uint64_t size_bytes, InputReader& reader) const {
  const size_t alignment = std::max<size_t>(1, static_cast<size_t>(bits_of(tensor.dtype)) / 8);
  return reader.read(file_, tensor.begin + offset, size_bytes, alignment);
}

}  // namespace arrow_quant
