#include "arrow_quant/io/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;
using namespace std::string_literals;  // texts with NUL bytes

const std::string kA = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";

struct Broken {
  const char* what;
  std::string header;
  const char* message;  // a part of it
};

void expect_refused(const std::vector<Broken>& cases) {
  for (const Broken& c : cases) {
    SCOPED_TRACE(c.what);
    const auto error = error_of([&] { parse_safetensors_header(c.header, "m.safetensors"); });
    if (error) {
      EXPECT_EQ(error->code(), ErrorCode::InvalidModel);
      EXPECT_THAT(error->what(), AllOf(StartsWith("m.safetensors: "), HasSubstr(c.message)));
      EXPECT_LT(std::string_view(error->what()).size(), 1000u);
    }
  }
}

TEST(SafetensorsHeader, RefusesWhatIsNotJson) {
  expect_refused({
      {"unclosed", "{" + kA, "not valid JSON at its byte"},
      {"unclosed string", "{\"a", "not valid JSON"},
      {"a comma too many", "{" + kA + ",}", "not valid JSON"},
      {"a comma missing", "{" + kA + R"("b":{})" + "}", "not valid JSON"},
      {"no colon", R"({"a"})", "not valid JSON"},
      {"single quotes", "{'a':{}}", "not valid JSON"},
      {"a comment", "{" + kA + "/* */}", "not valid JSON"},
      {"two objects", "{" + kA + "}{}", "not valid JSON"},
      {"text after it", "{" + kA + "} x", "not valid JSON"},
      {"padded with NUL", "{" + kA + "}" + std::string(3, '\0'), "is 0; pad with spaces"},
      {"a NUL hides the rest", "{" + kA + "}" + "\0{\"b\":"s, "is 0; pad with spaces"},
      {"NaN", R"({"a":{"x":NaN}})", "not valid JSON"},
      {"a number out of range", R"({"a":{"x":1e999}})", "number overflow"},
      {"a leading zero", R"({"a":{"x":01}})", "not valid JSON"},
      {"a control character", "{\"a\x01\":{}}", "not valid JSON"},
      {"not UTF-8", "{\"a\xff\":{}}", "ill-formed UTF-8"},
      {"overlong UTF-8", "{\"\xc0\x80\":{}}", "ill-formed UTF-8"},
      {"an encoded surrogate", "{\"\xed\xa0\x80\":{}}", "ill-formed UTF-8"},
      {"a cut UTF-8 sequence", "{\"\xe2\x82\":{}}", "ill-formed UTF-8"},
      {"half a surrogate pair", R"({"\ud800":{}})", "surrogate"},
      {"half an escape", R"({"\u12":{}})", "not valid JSON"},
      {"an unknown escape", R"({"\x41":{}})", "not valid JSON"},
      {"deep arrays", R"({"a":{"x":)" + std::string(1 << 20, '['),
       "nested more than 128 levels deep"},
      {"deep objects",
       R"({"a":)" +
           [] {
             std::string deep;
             for (int i = 0; i < 100'000; ++i) {
               deep += R"({"x":)";
             }
             return deep;
           }(),
       "nested more than 128 levels deep"},
  });
}

TEST(SafetensorsHeader, RefusesEntriesOfTheWrongForm) {
  const auto with = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  const std::string dtype = R"("dtype":"F32")", shape = R"("shape":[2])",
                    offsets = R"("data_offsets":[0,8])";
  expect_refused({
      {"a tensor twice", "{" + kA + "," + kA + "}", "holds tensor \"a\" twice"},
      {"a tensor twice, once escaped",
       "{" + kA + "," + R"("\u0061":{"dtype":"F32","shape":[0],"data_offsets":[8,8]})" + "}",
       "holds tensor \"a\" twice"},
      {"dtype twice", with(dtype + "," + dtype + "," + shape + "," + offsets),
       "tensor \"a\" holds the key \"dtype\" twice"},
      {"shape twice", with(shape + "," + dtype + "," + shape + "," + offsets), "\"shape\" twice"},
      {"data_offsets twice", with(offsets + "," + dtype + "," + shape + "," + offsets),
       "\"data_offsets\" twice"},
      {"a number for a tensor", R"({"a":1})", "tensor \"a\" is 1; an object is expected"},
      {"null for a tensor", R"({"a":null})", "tensor \"a\" is null"},
      {"an array for a tensor", R"({"a":["F32",[2],[0,8]]})", "tensor \"a\" is an array"},
      {"an empty entry", with(""), "tensor \"a\" has no \"dtype\""},
      {"no dtype", with(shape + "," + offsets), "has no \"dtype\""},
      {"no shape", with(dtype + "," + offsets), "tensor \"a\" has no \"shape\""},
      {"no data_offsets", with(dtype + "," + shape), "has no \"data_offsets\""},
      {"an unknown dtype", with(R"("dtype":"Q4_K",)" + shape + "," + offsets),
       "tensor \"a\": dtype \"Q4_K\" is unknown; known are BOOL U8"},
      {"dtype in small letters", with(R"("dtype":"f32",)" + shape + "," + offsets),
       "dtype \"f32\" is unknown"},
      {"a dtype of a megabyte", with("\"dtype\":\"" + std::string(1 << 20, 'F') + "\""),
       "is unknown"},
      {"a number for the dtype", with(R"("dtype":32,)" + shape), "\"dtype\" is 32; a string"},
      {"null for the dtype", with(R"("dtype":null,)" + shape), "\"dtype\" is null"},
      {"a number for the shape", with(dtype + R"(,"shape":2)"), "\"shape\" is 2; an array"},
      {"an object for the shape", with(dtype + R"(,"shape":{})"), "\"shape\" is an object"},
      {"a negative dimension", with(dtype + R"(,"shape":[-2])"),
       "tensor \"a\": a dimension of \"shape\" is -2; allowed are integers from 0"},
      {"minus zero", with(dtype + R"(,"shape":[-0])"), "a dimension of \"shape\" is"},
      {"a fraction", with(dtype + R"(,"shape":[2.5])"), "a dimension of \"shape\" is 2.5"},
      {"a whole float", with(dtype + R"(,"shape":[2.0])"), "a dimension of \"shape\" is 2.0"},
      {"an exponent", with(dtype + R"(,"shape":[2e0])"), "a dimension of \"shape\" is 2e0"},
      {"a string", with(dtype + R"(,"shape":["2"])"), "a dimension of \"shape\" is \"2\""},
      {"a nested shape", with(dtype + R"(,"shape":[[2]])"), "a dimension of \"shape\" is an array"},
      {"null in the shape", with(dtype + R"(,"shape":[null])"), "\"shape\" is null"},
      {"a dimension of 2^63", with(dtype + R"(,"shape":[9223372036854775808])"),
       "is 9223372036854775808; allowed are integers from 0 to 2^63"},
      {"a dimension of 2^64", with(dtype + R"(,"shape":[18446744073709551616])"),
       "is 18446744073709551616"},
      {"65 dimensions",
       with(dtype + R"(,"shape":[1)" +
            [] {
              std::string ones;
              for (int i = 0; i < 64; ++i) {
                ones += ",1";
              }
              return ones;
            }() +
            "]"),
       "tensor \"a\" has more than 64 dimensions"},
      {"one offset", with(dtype + "," + shape + R"(,"data_offsets":[0])"), "holds 1 numbers"},
      {"three offsets", with(dtype + "," + shape + R"(,"data_offsets":[0,8,9])"), "more than two"},
      {"offsets in an object", with(dtype + "," + shape + R"(,"data_offsets":{"0":0})"),
       "\"data_offsets\" is an object"},
      {"a negative offset", with(dtype + "," + shape + R"(,"data_offsets":[-8,0])"),
       "a number of \"data_offsets\" is -8"},
      {"a fractional offset", with(dtype + "," + shape + R"(,"data_offsets":[0,8.0])"),
       "a number of \"data_offsets\" is 8.0"},
      {"an offset of 2^64",
       with(dtype + "," + shape + R"(,"data_offsets":[0,18446744073709551616])"),
       "is 18446744073709551616"},
      {"offsets that end first", with(dtype + "," + shape + R"(,"data_offsets":[8,0])"),
       "data_offsets [8, 0] end before they begin"},
      {"metadata that is no object", R"({"__metadata__":[],)" + kA + "}",
       "\"__metadata__\" is an array; an object is expected"},
      {"a number in the metadata", R"({"__metadata__":{"step":1},)" + kA + "}",
       "\"__metadata__\": the value of \"step\" is 1; only strings are allowed"},
      {"an object in the metadata", R"({"__metadata__":{"step":{}},)" + kA + "}",
       "the value of \"step\" is an object"},
      {"a metadata key twice", R"({"__metadata__":{"a":"1","a":"2"},)" + kA + "}",
       "holds the key \"a\" twice"},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{},)" + kA + "}",
       "\"__metadata__\" twice"},
      {"a name to deceive a terminal", R"({"\u001b[2J":1})", R"(tensor "\u001b[2J")"},
  });
}

}  // namespace
}  // namespace arrow_quant
