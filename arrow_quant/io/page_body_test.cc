#include "arrow_quant/io/page_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <parquet/column_reader.h>

#include <vector>

namespace arrow_quant {
namespace {

using testing::ElementsAre;

TEST(PageBody, ValuesAreLittleEndianAndTextsHaveTheirLength) {
  PageBody body;
  body.add(int32_t{-2});
  body.add(1.0f);
  body.add_text("ab");
  EXPECT_THAT(body.bytes(),
              ElementsAre(0xFE, 0xFF, 0xFF, 0xFF, 0, 0, 0x80, 0x3F, 2, 0, 0, 0, 'a', 'b'));
}

TEST(PageBody, EqualLevelsAreOneRun) {
  Levels levels;
  levels.add(false);
  levels.add(true, 100);
  levels.add(true, 28);
  levels.add(false, 0);  // no run at all
  EXPECT_EQ(levels.count(), 129u);
  PageBody body;
  body.add_levels(levels);
  // Run of one 0: header 2. Run of 128 ones: header 256 as a varint.
  EXPECT_THAT(body.bytes(), ElementsAre(5, 0, 0, 0, 2, 0, 0x80, 2, 1));
}

// The decoder of the Parquet library is the judge.
TEST(PageBody, LevelsDecodeToThemselves) {
  std::vector<bool> expected;
  Levels levels;
  for (size_t run = 0; run < 40; ++run) {
    const size_t length = run * run * run % 1009;
    levels.add(run % 3 == 0, length);
    expected.insert(expected.end(), length, run % 3 == 0);
  }
  PageBody body;
  body.add_levels(levels);
  parquet::LevelDecoder decoder;
  const auto count = static_cast<int>(expected.size());
  ASSERT_EQ(decoder.SetData(parquet::Encoding::RLE, 1, count, body.bytes().data(),
                            static_cast<int32_t>(body.bytes().size())),
            static_cast<int>(body.bytes().size()));
  std::vector<int16_t> decoded(expected.size());
  ASSERT_EQ(decoder.Decode(count, decoded.data()), count);
  EXPECT_EQ(std::vector<bool>(decoded.begin(), decoded.end()), expected);
}

}  // namespace
}  // namespace arrow_quant
