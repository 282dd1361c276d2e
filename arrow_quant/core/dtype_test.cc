#include "arrow_quant/core/dtype.h"

#include <gtest/gtest.h>

namespace arrow_quant {
namespace {

TEST(DType, NamesOfTheFormatParseBackToThemselves) {
  for (const char* name :
       {"BOOL",        "U8",          "I8",  "U16",     "I16",     "U32",     "I32",     "U64",
        "I64",         "C64",         "F4",  "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0",
        "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F16", "BF16",    "F32",     "F64"}) {
    const auto dtype = parse_dtype(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(to_string(*dtype), name);
  }
  EXPECT_FALSE(parse_dtype("f32").has_value());
  EXPECT_FALSE(parse_dtype("").has_value());
}

TEST(DType, SixTypesAreQuantized) {
  int quantizable = 0;
  for (int i = 0; i <= static_cast<int>(DType::F64); ++i) {
    quantizable += is_quantizable(static_cast<DType>(i));
  }
  EXPECT_EQ(quantizable, 6);
  EXPECT_TRUE(is_quantizable(DType::F8_E4M3));
  EXPECT_FALSE(is_quantizable(DType::F8_E4M3FNUZ));
}

TEST(DType, SubByteTypesKnowTheirBits) {
  EXPECT_EQ(bits_of(DType::F4), 4);
  EXPECT_EQ(bits_of(DType::F6_E3M2), 6);
  EXPECT_EQ(bits_of(DType::C64), 64);
}

}  // namespace
}  // namespace arrow_quant
