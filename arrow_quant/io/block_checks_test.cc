#include "arrow_quant/io/block_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "arrow_quant/io/part_test_util.h"

namespace arrow_quant {
namespace {

using testing::HasSubstr;

TEST(BlockChecks, AShapeIsSeenAsRowsOfTheFirstAxis) {
  const struct {
    std::vector<int64_t> shape;
    int64_t rows, cols;
  } cases[] = {{{}, 1, 1},         {{7}, 1, 7},    {{0}, 1, 0},      {{3, 5}, 3, 5},
               {{3, 5, 2}, 3, 10}, {{0, 5}, 0, 5}, {{4, 0, 9}, 4, 0}};
  for (const auto& c : cases) {
    const auto view = matrix_view(c.shape);
    ASSERT_TRUE(view.has_value()) << shape_text(c.shape);
    EXPECT_EQ(view->rows, c.rows) << shape_text(c.shape);
    EXPECT_EQ(view->cols, c.cols) << shape_text(c.shape);
  }
}

TEST(BlockChecks, ShapesWhoseSizesOverflowAreNoShapes) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{-1}, {2, -3}, {kMax}, {1 << 30, 1 << 30, 1 << 30}, {0, kMax}}) {
    EXPECT_FALSE(matrix_view(shape).has_value()) << shape_text(shape);
  }
}

// Blocks of a tensor of 12 rows: index, first row, rows.
std::string error_of_blocks(const std::vector<std::array<int64_t, 3>>& places) {
  std::vector<BlockHeader> blocks;
  for (const auto& [index, start, count] : places) {
    BlockHeader header = header_of("w", {12, 64});
    header.block_index = static_cast<int32_t>(index);
    header.row_start = start;
    header.row_count = count;
    blocks.push_back(header);
  }
  return error_of([&] { check_tensors_complete(blocks, "file"); });
}

TEST(BlockChecks, BlocksMustMakeUpTheirTensorInAnyOrder) {
  EXPECT_EQ(error_of_blocks({{0, 0, 12}}), "");
  EXPECT_EQ(error_of_blocks({{1, 5, 7}, {0, 0, 5}}), "");
  EXPECT_THAT(error_of_blocks({{0, 0, 5}}), HasSubstr("5 of 12 rows"));
  EXPECT_THAT(error_of_blocks({{0, 0, 5}, {2, 5, 7}}), HasSubstr("block 1"));
  EXPECT_THAT(error_of_blocks({{0, 0, 5}, {1, 6, 6}}), HasSubstr("starts at row 6"));
  EXPECT_THAT(error_of_blocks({{0, 0, 6}, {1, 5, 7}}), HasSubstr("starts at row 5"));
  EXPECT_THAT(error_of_blocks({{0, 0, 12}, {0, 0, 12}}), HasSubstr("stands twice"));
  EXPECT_THAT(error_of_blocks({{-1, 0, 12}}), HasSubstr("block 0"));
}

TEST(BlockChecks, BlocksOfATensorMustDescribeTheSame) {
  std::vector<BlockHeader> blocks(2, header_of("w", {12, 64}));
  blocks[0].row_count = blocks[1].row_start = 6;
  blocks[1].row_count = 6;
  blocks[1].block_index = 1;
  EXPECT_EQ(error_of([&] { check_tensors_complete(blocks, "file"); }), "");
  blocks[1].dtype = DType::F16;
  EXPECT_THAT(error_of([&] { check_tensors_complete(blocks, "file"); }),
              HasSubstr("another tensor"));
}

TEST(BlockChecks, ComponentsHaveTheirOwnNames) {
  std::vector<BlockHeader> blocks(2, header_of("w", {12, 64}));
  blocks[1].component = "transformer_2";
  EXPECT_EQ(error_of([&] { check_tensors_complete(blocks, "file"); }), "");
}

}  // namespace
}  // namespace arrow_quant
