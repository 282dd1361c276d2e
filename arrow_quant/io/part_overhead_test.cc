#include "arrow_quant/io/part_overhead.h"

#include <gtest/gtest.h>

#include "arrow_quant/io/part_test_util.h"

namespace arrow_quant {
namespace {

struct Sizes {
  int64_t actual = 0;  // beside stored bytes
  int64_t bound = 0;
  int64_t num_row_groups = 0;
};

Sizes sizes_of(const std::vector<QuantizedBlock>& blocks,
               const std::map<std::string, std::string>& metadata) {
  const TemporaryDirectory directory;
  const PartInfo info = write_part(directory.path() / "part.parquet", blocks, metadata);
  Sizes sizes{static_cast<int64_t>(info.size_bytes), 0, info.blocks.back().row_group + 1};
  for (const BlockLocation& block : info.blocks) {
    sizes.actual -= block.stored_bytes;
  }
  int64_t metadata_bytes = 0;
  for (const auto& [key, value] : metadata) {
    metadata_bytes += static_cast<int64_t>(key.size() + value.size());
  }
  sizes.bound =
      max_part_overhead_bytes(metadata_bytes) + sizes.num_row_groups * kMaxRowGroupOverheadBytes;
  for (const QuantizedBlock& block : blocks) {
    const BlockHeader& header = block.header;
    sizes.bound += max_row_overhead_bytes(
        static_cast<int64_t>(header.shape.size()),
        static_cast<int64_t>(header.layer_name.size() + header.component.size() +
                             header.kept_reason.size()));
  }
  return sizes;
}

std::vector<QuantizedBlock> many(size_t count, const std::string& name, bool kept) {
  std::vector<QuantizedBlock> blocks;
  for (size_t i = 0; i < count; ++i) {
    const std::string full = name + std::to_string(i);
    blocks.push_back(kept ? kept_block(full, {16, 16}, DType::BF16)
                          : quantized_block(full, {64, 512}, i % 2 == 0 ? 2 : 4, 64));
  }
  return blocks;
}

TEST(PartOverhead, IsBoundedFromAboveAndNotByMuch) {
  const std::string long_name(900, 'n');
  const std::map<std::string, std::string> metadata = {{"options", std::string(700, 'o')}};
  std::vector<std::vector<QuantizedBlock>> parts;
  parts.push_back(many(1, "a", false));
  parts.push_back(many(1, "a", true));
  parts.push_back(many(200, "blocks.attn.to_q.weight.", false));
  parts.push_back(many(40, long_name, false));
  parts.push_back(many(700, "blocks.norm.", true));
  parts.push_back(many(300, long_name, true));
  parts.push_back(blocks_of_every_kind());
  for (const std::vector<QuantizedBlock>& blocks : parts) {
    SCOPED_TRACE(std::to_string(blocks.size()) + " " + blocks[0].header.layer_name.substr(0, 40));
    const Sizes sizes = sizes_of(blocks, metadata);
    // In a file of 2^40 bytes offsets have two more bytes, in each of 43 columns and the group.
    EXPECT_GT(sizes.bound, sizes.actual + 44 * 2 * sizes.num_row_groups);
    EXPECT_LT(sizes.bound, sizes.actual + 400 + 160 * sizes.num_row_groups +
                               20 * static_cast<int64_t>(blocks.size()));
  }
}

// The stored bytes of extras count their pages with all that is around the values.
TEST(PartOverhead, IsBoundedWithExtrasToo) {
  const Sizes sizes = sizes_of(with_extras({}), {});
  EXPECT_GT(sizes.bound, sizes.actual + 44 * 2 * sizes.num_row_groups);
}

}  // namespace
}  // namespace arrow_quant
