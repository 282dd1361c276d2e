#include "arrow_quant/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::string_literals;  // texts with NUL bytes

// The entry of a tensor, data bytes [begin, end).
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  size_t begin, size_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

const std::string kA = entry("a", "F32", "[2]", 0, 8);  // NOLINT(bugprone-*): strings of a test

TEST(Safetensors, GivesTensorsInTheOrderOfTheirData) {
  const TempDir dir;
  const std::string header = R"({"__metadata__":{"format":"pt"},)" +
                             entry("b.weight", "BF16", "[2,3]", 8, 20) + "," + kA + "," +
                             entry("empty", "F16", "[0,7]", 8, 8) + "," +
                             entry("scalar", "F64", "[]", 20, 28) + "}   ";
  const auto file =
      SafetensorsFile::open(dir.write("model.safetensors", safetensors_bytes(header, 28)));

  std::vector<std::string> names;
  for (const TensorInfo& info : file.tensors()) {
    names.push_back(info.name);
  }
  EXPECT_THAT(names, ElementsAre("a", "empty", "b.weight", "scalar"));
  EXPECT_EQ(file.data_begin(), 8 + header.size());
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  const TensorInfo& b = file.tensors()[2];
  EXPECT_EQ(b.dtype, DType::BF16);
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  EXPECT_EQ(b.begin, file.data_begin() + 8);
  EXPECT_EQ(b.size_bytes, 12u);
  EXPECT_EQ(b.num_elements(), 6u);
  EXPECT_EQ(file.tensors()[1].num_elements(), 0u);
  EXPECT_EQ(file.tensors()[3].num_elements(), 1u);
  uint8_t first = 0;
  file.file().read_at(b.begin, {&first, 1});
  EXPECT_EQ(first, 8);  // data bytes count up from 0
}

TEST(Safetensors, KnowsTheBytesOfEveryType) {
  const std::map<std::string, size_t> bytes_of_8 = {
      {"BOOL", 8},        {"U8", 8},      {"I8", 8},          {"U16", 16},    {"I16", 16},
      {"U32", 32},        {"I32", 32},    {"U64", 64},        {"I64", 64},    {"C64", 64},
      {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"F8_E5M2", 8}, {"F8_E4M3", 8},
      {"F8_E8M0", 8},     {"F16", 16},    {"F8_E4M3FNUZ", 8}, {"BF16", 16},   {"F32", 32},
      {"F8_E5M2FNUZ", 8}, {"F64", 64}};
  const TempDir dir;
  for (const auto& [dtype, size_bytes] : bytes_of_8) {
    const std::string header = "{" + entry("t", dtype, "[4,2]", 0, size_bytes) + "}";
    const auto file =
        SafetensorsFile::open(dir.write("t.safetensors", safetensors_bytes(header, size_bytes)));
    EXPECT_EQ(to_string(file.tensors().at(0).dtype), dtype);
    EXPECT_EQ(file.tensors().at(0).size_bytes, size_bytes);
  }
}

// Unusual, but valid for the reference implementation as well.
TEST(Safetensors, AcceptsWhatTheReferenceAccepts) {
  const struct {
    const char* what;
    std::string header;
    size_t data_bytes;
  } cases[] = {
      {"no tensors", "{}", 0},
      {"metadata alone", R"({"__metadata__":{"a":"b"}})", 0},
      {"metadata null", R"({"__metadata__":null,)" + kA + "}", 8},
      {"padding", "{" + kA + "} \n\t\r ", 8},
      {"space inside",
       "{ \"a\" : { \"dtype\" : \"F32\", \"shape\": [ 2 ],\n"
       "\"data_offsets\": [0 , 8] } }",
       8},
      {"an empty name", "{" + entry("", "F32", "[2]", 0, 8) + "}", 8},
      {"an escaped name", "{" + entry(R"(\ud83d\ude00\u0000\n)", "F32", "[2]", 0, 8) + "}", 8},
      {"an unknown field",
       R"({"a":{"x":[1,{"dtype":[2e300]}],"dtype":"F32","y":{"shape":null},)"
       R"("shape":[2],"z":false,"data_offsets":[0,8],"w":"s"}})",
       8},
      {"an unknown field 100 deep",
       R"({"a":{"x":)" + std::string(100, '[') + std::string(100, ']') +
           R"(,"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8},
      {"empty tensors around another",
       "{" + entry("z", "F32", "[0]", 8, 8) + "," + kA + "," + entry("y", "I64", "[3,0]", 0, 0) +
           "}",
       8},
      {"a huge empty tensor", "{" + entry("a", "U8", "[0,4611686018427387904]", 0, 0) + "}", 0},
      {"many dimensions",
       "{" + entry("a", "F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", 0, 8) + "}", 8},
      {"6-bit values in whole bytes", "{" + entry("a", "F6_E2M3", "[4]", 0, 3) + "}", 3},
  };
  const TempDir dir;
  for (const auto& c : cases) {
    const auto path = dir.write("a.safetensors", safetensors_bytes(c.header, c.data_bytes));
    EXPECT_NO_THROW(SafetensorsFile::open(path)) << c.what;
  }
}

struct Broken {
  const char* what;
  std::string bytes;
  const char* message;  // a part of it
};

void expect_refused(const std::vector<Broken>& cases) {
  const TempDir dir;
  for (const Broken& c : cases) {
    SCOPED_TRACE(c.what);
    const auto path = dir.write("broken.safetensors", c.bytes);
    const auto error = error_of([&] { SafetensorsFile::open(path); });
    if (error) {
      EXPECT_EQ(error->code(), ErrorCode::InvalidModel);
      EXPECT_THAT(error->what(), AllOf(HasSubstr(path.string() + ": "), HasSubstr(c.message)));
      EXPECT_LT(std::string_view(error->what()).size(), 1000u);
    }
  }
}

// Eight bytes of length that do not match what follows.
std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes = safetensors_bytes("", 0);
  for (int i = 0; i < 8; ++i) {
    bytes[static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
  }
  return bytes + rest;
}

TEST(Safetensors, RefusesAFileWhoseLengthsAreWrong) {
  const std::string header = "{" + kA + "}";
  const std::string whole = safetensors_bytes(header, 8);
  expect_refused({
      {"an empty file", "", "the file is empty; fetch it again"},
      {"seven bytes", "\x10\0\0\0\0\0\0"s, "7 bytes are fewer than the 8"},
      {"length 0", with_length(0, ""), "does not start with '{'"},
      {"length 0, then data", with_length(0, header), "does not start with '{'"},
      {"length alone", with_length(16, ""), "is 16 bytes, but only 0 follow"},
      {"header cut off", whole.substr(0, 30), "but only 22 follow"},
      {"length one too many", with_length(header.size() + 9, header + std::string(8, '\0')),
       "follow"},
      {"length above the limit", with_length(100'000'001, header), "at most 100000000 are allowed"},
      {"length near 2^63", with_length(0x7fffffffffffffff, header), "at most 100000000"},
      {"length 2^64 - 1", with_length(~uint64_t{0}, header), "18446744073709551615 bytes"},
      {"length 2^64 - 8", with_length(~uint64_t{7}, header), "at most 100000000"},
      {"length big-endian", with_length(uint64_t{header.size()} << 56, header), "at most"},
      {"data cut off", whole.substr(0, whole.size() - 1),
       "ends at byte 8 of the data, but there are only 7: the file is incomplete; fetch it again"},
      {"no data", whole.substr(0, whole.size() - 8), "there are only 0: the file is incomplete"},
      {"a byte too many", whole + "x",
       "1 bytes follow the last tensor's end at 8 of 9: the tensors must cover the data exactly; "
       "download the file again"},
      {"data without tensors", safetensors_bytes("{}", 5), "5 bytes follow the last tensor's end"},
      {"all zeros", std::string(4096, '\0'), "does not start with '{'"},
  });
}

TEST(Safetensors, NamesWhatAFileIsInstead) {
  expect_refused({
      {"a Git LFS pointer",
       "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n",
       "Git LFS pointer, not the file itself; run 'git lfs pull'"},
      {"a web page", "<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
       "this is a web page, not a safetensors file; download it again"},
      {"a web page after a line", "\n  <HTML lang=en><body>404</body></HTML>",
       "this is a web page"},
      {"an XML error", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
       "this is a web page"},
      {"a PyTorch zip", "PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0archive/data.pkl"s,
       "this is a PyTorch pickle"},
      {"a legacy pickle", "\x80\x02\x8a\nl\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."s,
       "this is a PyTorch pickle"},
      {"a GGUF file", "GGUF\x03\0\0\0\x10\0\0\0"s, "this is a GGUF file"},
      {"short text", "Entry not found", "this is not a safetensors file, or it is damaged"},
      {"bare JSON", R"({"error":"Access to this model is restricted"})",
       "this is not a safetensors file"},
  });
}

TEST(Safetensors, RefusesAHeaderThatDoesNotStartWithABrace) {
  const auto file = [](const std::string& header) { return safetensors_bytes(header, 8); };
  expect_refused({
      {"an array", file("[]"), "does not start with '{' but with \"[]\""},
      {"null", file("null"), "does not start with '{'"},
      {"space first", file(" {" + kA + "}"), "does not start with '{'"},
      {"a byte order mark", file("\xef\xbb\xbf{" + kA + "}"), "does not start with '{'"},
  });
}

TEST(Safetensors, RefusesTensorsThatDoNotCoverTheData) {
  const auto file = [](const std::string& entries, size_t data_bytes) {
    return safetensors_bytes("{" + entries + "}", data_bytes);
  };
  expect_refused({
      {"a hole at the start", file(entry("a", "F32", "[2]", 8, 16), 16),
       "tensor \"a\" begins at byte 8 of the data, the data's start is at 0"},
      {"a hole", file(kA + "," + entry("b", "F32", "[2]", 12, 20), 20),
       "tensor \"b\" begins at byte 12 of the data, the end of tensor \"a\" is at 8: tensors must "
       "follow each other without a hole; download the file again, or save it again"},
      {"an overlap", file(kA + "," + entry("b", "F32", "[2]", 4, 12), 12),
       "tensor \"b\" begins at byte 4 of the data, the end of tensor \"a\" is at 8: tensors must "
       "follow each other without overlap; download the file again, or save it again"},
      {"the same bytes twice", file(kA + "," + entry("b", "F32", "[2]", 0, 8), 8),
       "without overlap"},
      {"an empty tensor inside another", file(kA + "," + entry("b", "F32", "[0]", 4, 4), 8),
       "without overlap"},
      {"an empty tensor past the end", file(kA + "," + entry("b", "F32", "[0]", 12, 12), 8),
       "without a hole"},
      {"offsets past the end", file(entry("a", "F32", "[4]", 0, 16), 8),
       "ends at byte 16 of the data, but there are only 8"},
      {"offsets near 2^64",
       file(kA + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":)"
                 "[8,18446744073709551615]}",
            9),
       "there are only 9"},
      {"fewer bytes than the shape", file(entry("a", "F32", "[3]", 0, 8), 8),
       "tensor \"a\" of type F32 and shape [3] takes 12 bytes, but its data_offsets [0, 8] hold 8; "
       "download the file again, or save it again"},
      {"more bytes than the shape", file(entry("a", "F32", "[1]", 0, 8), 8), "takes 4 bytes"},
      {"bytes for a tensor without elements", file(entry("a", "F32", "[2,0]", 0, 8), 8),
       "takes 0 bytes"},
      {"a scalar of 8 bytes", file(entry("a", "F32", "[]", 0, 8), 8), "shape [] takes 4 bytes"},
      {"a dtype of another width", file(entry("a", "BF16", "[2]", 0, 8), 8), "takes 4 bytes"},
      {"a shape whose product overflows",
       file(entry("a", "U8", "[4294967296,4294967296,4294967296]", 0, 8), 8),
       "has more elements than 64 bits can count"},
      {"a product that wraps to 8", file(entry("a", "U8", "[9223372036854775807,2]", 0, 8), 8),
       "more elements than"},
      {"a product of bits that overflows",
       file(entry("a", "F64", "[4611686018427387904]", 0, 8), 8), "more elements than"},
      {"an empty tensor whose other dimensions overflow",
       file(entry("a", "U8", "[4611686018427387904,4611686018427387904,0]", 0, 0), 0),
       "more elements than"},
      {"half a byte", file(entry("a", "F4", "[3]", 0, 2), 2),
       "takes 12 bits; whole bytes are required"},
      {"6-bit values in part of a byte", file(entry("a", "F6_E3M2", "[5]", 0, 4), 4),
       "takes 30 bits"},
  });
}

// Whatever single byte is changed or wherever the file ends, opening it returns or throws an Error.
TEST(Safetensors, SurvivesEveryDamagedByteOfAHeader) {
  const std::string whole = safetensors_bytes(
      R"({"__metadata__":{"f":"pt"},)" + kA + "," + entry("b", "F16", "[2,2]", 8, 16) + "}", 16);
  const TempDir dir;
  const auto path = dir.write("x.safetensors", whole);
  const auto is_refused = [&] {
    try {
      SafetensorsFile::open(path);
      return false;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidModel);
      return true;
    }
  };
  EXPECT_FALSE(is_refused());
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto put = [&](size_t at, char byte) {
      file.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
    };
    for (size_t i = 0; i < whole.size() - 16; ++i) {
      for (const char byte : {'\0', '"', '{', ']', '9', '-', '\xff'}) {
        put(i, byte);
        EXPECT_TRUE(i >= 8 || byte == whole[i] || is_refused()) << i;
        is_refused();
      }
      put(i, whole[i]);
    }
  }
  EXPECT_FALSE(is_refused());
  for (size_t size = whole.size(); size-- != 0;) {
    std::filesystem::resize_file(path, size);
    EXPECT_TRUE(is_refused()) << size;
  }
}

}  // namespace
}  // namespace arrow_quant
