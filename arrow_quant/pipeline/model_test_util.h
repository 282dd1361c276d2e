// For tests: safetensors files made of a few lines.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/core/core_test_util.h"
#include "arrow_quant/core/dtype.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant::testing_model {

// The code of the Error that `action` throws, and its message.
inline ErrorCode code_of(const std::function<void()>& action, std::string* message = nullptr) {
  const std::optional<Error> error = error_of(action);
  if (error && message != nullptr) {
    *message = error->what();
  }
  return error ? error->code() : ErrorCode{};
}

struct TestTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

inline int64_t num_elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    count *= size;
  }
  return count;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Normal weights of the given standard deviation.
inline std::vector<float> gaussian(int64_t count, uint32_t seed, float sigma = 0.02f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(generator);
  }
  return values;
}

inline TestTensor f32_tensor(const std::string& name, std::vector<int64_t> shape,
                             const std::vector<float>& values) {
  return {name, DType::F32, std::move(shape), bytes_of(values)};
}

// bf16 by truncation: good enough for weights that are random anyway.
inline TestTensor bf16_tensor(const std::string& name, std::vector<int64_t> shape, uint32_t seed) {
  std::vector<uint16_t> halves;
  for (const float value : gaussian(num_elements(shape), seed)) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    halves.push_back(static_cast<uint16_t>(bits >> 16));
  }
  return {name, DType::BF16, std::move(shape), bytes_of(halves)};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline void write_safetensors(const std::filesystem::path& path,
                              const std::vector<TestTensor>& tensors) {
  std::string header = "{", data;
  for (const TestTensor& tensor : tensors) {
    header += header.size() > 1 ? "," : "";
    header += "\"" + tensor.name + "\":{\"dtype\":\"" + std::string(to_string(tensor.dtype)) +
              "\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      header += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    }
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  header += "}";
  const uint64_t length = header.size();
  write_text(path, std::string(reinterpret_cast<const char*>(&length), 8) + header + data);
}

// Relative path → contents of every file below `root`.
inline std::map<std::string, std::string> read_tree(const std::filesystem::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) {
      std::ifstream file(entry.path(), std::ios::binary);
      files[entry.path().lexically_relative(root).string()] =
          std::string(std::istreambuf_iterator<char>(file), {});
    }
  }
  return files;
}

}  // namespace arrow_quant::testing_model
