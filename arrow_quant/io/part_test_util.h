// Blocks, files and comparisons for the tests of part files.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/core/error.h"
#include "arrow_quant/core/float16.h"
#include "arrow_quant/io/part_writer.h"
#include "arrow_quant/io/quantized_block.h"
#include "arrow_quant/quant/bit_width.h"

namespace arrow_quant {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    static std::atomic<int> count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("arrow_quant_part_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_file(const std::filesystem::path& path, const std::vector<uint8_t>& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

// "Code: message" of the Error that `f` throws; "" if it throws none.
template <class F>
std::string error_of(F f, int* os_errno = nullptr) {
  try {
    f();
  } catch (const Error& error) {
    if (os_errno != nullptr) {
      *os_errno = error.os_errno();
    }
    return std::string(to_string(error.code())) + ": " + error.what();
  }
  return "";
}

inline Buffer copy_of(const Buffer& buffer) {
  Buffer copy(buffer.size_bytes());
  if (!buffer.empty()) {
    std::memcpy(copy.data(), buffer.data(), buffer.size_bytes());
  }
  return copy;
}

inline QuantizedBlock copy_of(const QuantizedBlock& block) {
  return {block.header, copy_of(block.data), block.data_size_bytes, copy_of(block.scales),
          copy_of(block.offsets)};
}

// Bytes that look random and are the same on every run.
inline void fill(uint8_t* bytes, size_t size, uint64_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (size_t i = 0; i < size; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    bytes[i] = static_cast<uint8_t>(state >> 56);
  }
}

inline int64_t rows_of(const std::vector<int64_t>& shape) {
  return shape.size() < 2 ? 1 : shape[0];
}

inline int64_t cols_of(const std::vector<int64_t>& shape) {
  int64_t cols = 1;
  for (size_t i = shape.size() < 2 ? 0 : 1; i < shape.size(); ++i) {
    cols *= shape[i];
  }
  return cols;
}

inline BlockHeader header_of(const std::string& name, const std::vector<int64_t>& shape) {
  BlockHeader header;
  header.layer_name = name;
  header.shape = shape;
  header.row_count = rows_of(shape);
  header.num_params = rows_of(shape) * cols_of(shape);
  header.is_diffusion_model = true;
  header.modality = "image";
  header.component = "transformer";
  return header;
}

inline QuantizedBlock quantized_block(const std::string& name, const std::vector<int64_t>& shape,
                                      int bits, int group_size) {
  QuantizedBlock block;
  block.header = header_of(name, shape);
  block.header.dtype = DType::BF16;
  block.header.quantized = true;
  block.header.bit_width = bits;
  block.header.group_size = group_size;
  block.header.method = "mse";
  block.header.cosine_similarity = 0.99f;
  block.header.sqnr_db = 20.5f;
  block.header.max_abs_error = 0.25f;
  const auto rows = static_cast<size_t>(rows_of(shape));
  const auto cols = static_cast<size_t>(cols_of(shape));
  block.data_size_bytes = rows * packed_row_bytes(cols, *bit_width_from_bits(bits));
  block.data = Buffer(QuantizedBlock::kDataPrefixBytes + block.data_size_bytes);
  fill(block.codes(), block.data_size_bytes, name.size() + block.data_size_bytes);
  const size_t groups = rows * groups_per_row(cols, static_cast<size_t>(group_size));
  block.scales = Buffer(groups * 2);
  for (size_t i = 0; i < groups; ++i) {
    const float scale = 0.004f + 0.00001f * static_cast<float>(i * 7 % 251);
    block.scales.as<uint16_t>()[i] = float_to_half(scale);
  }
  if (bits != 8) {
    block.offsets = Buffer(groups * 2);
    for (size_t i = 0; i < groups; ++i) {
      block.offsets.as<uint16_t>()[i] =
          float_to_half(-0.03f + 0.0001f * static_cast<float>(i % 99));
    }
  }
  return block;
}

inline QuantizedBlock kept_block(const std::string& name, const std::vector<int64_t>& shape,
                                 DType dtype) {
  QuantizedBlock block;
  block.header = header_of(name, shape);
  block.header.dtype = dtype;
  block.header.bit_width = bits_of(dtype);
  block.header.kept_reason = "a norm";
  block.data_size_bytes = static_cast<size_t>(block.header.num_params * bits_of(dtype)) / 8;
  block.data = Buffer(QuantizedBlock::kDataPrefixBytes + block.data_size_bytes);
  fill(block.codes(), block.data_size_bytes, name.size() + 3 * block.data_size_bytes);
  return block;
}

// Extras of made-up values that fit the block; those of the whole tensor only in its block 0.
inline void add_hadamard(QuantizedBlock& block, int32_t size) {
  block.header.extras.transforms.push_back(Transform::Hadamard);
  block.header.extras.hadamard_block = size;
}

inline std::vector<uint16_t> made_up_words(size_t count, uint16_t first) {
  std::vector<uint16_t> words(count);
  for (size_t i = 0; i < count; ++i) {
    words[i] = static_cast<uint16_t>(first + i * 7 % 1000 + (i % 3 == 0 ? 0x8000 : 0));
  }
  return words;
}

inline void add_low_rank(QuantizedBlock& block, int32_t rank) {
  BlockExtras& extras = block.header.extras;
  const auto size = static_cast<size_t>(rank);
  extras.transforms.push_back(Transform::LowRank);
  extras.rank = rank;
  extras.low_rank_u = made_up_words(static_cast<size_t>(block.header.row_count) * size, 0x3D00);
  if (block.header.block_index == 0) {
    extras.low_rank_v =
        made_up_words(size * static_cast<size_t>(cols_of(block.header.shape)), 0x3C80);
  }
}

inline void add_input_scale(QuantizedBlock& block) {
  BlockExtras& extras = block.header.extras;
  extras.transforms.push_back(Transform::InputScale);
  for (int64_t i = 0; block.header.block_index == 0 && i < cols_of(block.header.shape); ++i) {
    extras.input_scale.push_back(0.25f + 0.125f * static_cast<float>(i % 13));
  }
}

inline void add_bias(QuantizedBlock& block, int32_t groups) {
  block.header.extras.bias_groups = groups;
  block.header.extras.bias_corrections =
      made_up_words(static_cast<size_t>(groups * block.header.row_count), 0x2800);
}

inline void add_activation(QuantizedBlock& block, ActMode mode, int bits, size_t groups) {
  if (block.header.block_index != 0) {
    return;
  }
  BlockExtras& extras = block.header.extras;
  extras.act_bits = bits;
  extras.act_mode = mode;
  for (size_t g = 0; g < groups; ++g) {
    const auto step = static_cast<float>(g);
    extras.act.push_back({1.0f - 0.0625f * step, 0.5f + step, 7 + step});
  }
}

inline void add_every_extra(QuantizedBlock& block) {
  add_hadamard(block, 64);
  add_low_rank(block, 3);
  add_input_scale(block);
  add_bias(block, 10);
  add_activation(block, ActMode::Static, 8, 10);
}

// Every bit width and several types, tensors of several blocks, short groups, odd shapes, no
// elements, names in another script.
inline std::vector<QuantizedBlock> blocks_of_every_kind() {
  std::vector<QuantizedBlock> blocks;
  blocks.push_back(quantized_block("two bits", {8, 3, 43}, 2, 32));
  blocks.push_back(quantized_block("four bits", {16, 129}, 4, 64));
  blocks.push_back(quantized_block("eight bits", {5, 256}, 8, 128));
  for (int i = 0; i < 3; ++i) {
    QuantizedBlock block = quantized_block("in three blocks", {4, 64}, 4, 32);
    block.header.shape = {12, 64};
    block.header.block_index = i;
    block.header.row_start = 4 * i;
    block.header.tensor_scale = 0.125f;
    fill(block.codes(), block.data_size_bytes, 1000 + static_cast<uint64_t>(i));
    blocks.push_back(std::move(block));
  }
  blocks.push_back(kept_block("large and kept", {256, 300}, DType::BF16));
  blocks.push_back(kept_block("scalar", {}, DType::I64));
  blocks.push_back(kept_block("веса.bias", {77}, DType::F16));
  blocks.push_back(kept_block("no elements", {0}, DType::F32));
  blocks.push_back(kept_block("no rows", {0, 5}, DType::F64));
  blocks.push_back(kept_block("packed", {3, 8}, DType::F4));
  blocks.push_back(quantized_block("one row", {200}, 4, 256));
  return blocks;
}

// The blocks, and a tensor of each bit width with every extra, the last in two blocks.
inline std::vector<QuantizedBlock> with_extras(std::vector<QuantizedBlock> blocks) {
  for (const int bits : {2, 4, 8, 8}) {
    const bool second = !blocks.empty() && blocks.back().header.layer_name == "extras, 8 bits";
    QuantizedBlock block =
        quantized_block("extras, " + std::to_string(bits) + " bits", {3, 192}, bits, 64);
    if (bits == 8) {
      block.header.shape = {6, 192};
      block.header.block_index = second;
      block.header.row_start = second ? 3 : 0;
    }
    add_every_extra(block);
    blocks.push_back(std::move(block));
  }
  return blocks;
}

inline PartInfo write_part(const std::filesystem::path& path,
                           const std::vector<QuantizedBlock>& blocks,
                           const std::map<std::string, std::string>& metadata = {}) {
  PartWriter writer(path, metadata);
  for (const QuantizedBlock& block : blocks) {
    writer.append(copy_of(block));
  }
  return writer.finish();
}

inline void expect_equal(const QuantizedBlock& a, const QuantizedBlock& b) {
  const BlockHeader& x = a.header;
  const BlockHeader& y = b.header;
  EXPECT_EQ(x.layer_name, y.layer_name);
  EXPECT_EQ(x.shape, y.shape);
  EXPECT_EQ(x.dtype, y.dtype);
  EXPECT_EQ(x.block_index, y.block_index);
  EXPECT_EQ(x.row_start, y.row_start);
  EXPECT_EQ(x.row_count, y.row_count);
  EXPECT_EQ(x.num_params, y.num_params);
  EXPECT_EQ(x.bit_width, y.bit_width);
  EXPECT_EQ(x.quantized, y.quantized);
  EXPECT_EQ(x.group_size, y.group_size);
  EXPECT_EQ(x.tensor_scale, y.tensor_scale);
  EXPECT_EQ(x.method, y.method);
  EXPECT_EQ(x.kept_reason, y.kept_reason);
  EXPECT_EQ(x.cosine_similarity, y.cosine_similarity);
  EXPECT_EQ(x.sqnr_db, y.sqnr_db);
  EXPECT_EQ(x.max_abs_error, y.max_abs_error);
  EXPECT_EQ(x.output_sqnr_db, y.output_sqnr_db);
  EXPECT_TRUE(x.extras == y.extras) << "extras";
  EXPECT_EQ(x.is_diffusion_model, y.is_diffusion_model);
  EXPECT_EQ(x.modality, y.modality);
  EXPECT_EQ(x.component, y.component);
  const auto same = [](const uint8_t* p, size_t p_size, const uint8_t* q, size_t q_size) {
    return p_size == q_size && (p_size == 0 || std::memcmp(p, q, p_size) == 0);
  };
  EXPECT_TRUE(same(a.codes(), a.data_size_bytes, b.codes(), b.data_size_bytes)) << "codes";
  EXPECT_TRUE(same(a.scales.data(), a.scales.size_bytes(), b.scales.data(), b.scales.size_bytes()))
      << "scales";
  EXPECT_TRUE(
      same(a.offsets.data(), a.offsets.size_bytes(), b.offsets.data(), b.offsets.size_bytes()))
      << "offsets";
}

}  // namespace arrow_quant
