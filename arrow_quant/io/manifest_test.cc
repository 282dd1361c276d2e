#include "arrow_quant/io/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "arrow_quant/io/io_test_util.h"

namespace arrow_quant {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

Manifest small_manifest() {
  Manifest manifest;
  manifest.tool_version = "2.0.0";
  manifest.modality = "image";
  manifest.source_files = {{"transformer/model.safetensors", 8, "00"}};
  manifest.copied_files = {{"vae/config.json", 2, "01"}};
  PartRecord part;
  part.file = {"transformer/quantized-00001-of-00001.parquet", 100, "02"};
  part.tensors.resize(1);
  part.tensors[0].report.name = "a.weight";
  part.tensors[0].report.shape = {2, 2};
  part.tensors[0].report.quant_type = "int4";
  manifest.components = {{"transformer", "transformer", "DiT", {part}, {}}};
  return manifest;
}

TEST(Manifest, IsReadAsItWasWritten) {
  const std::string text = to_json(small_manifest());
  EXPECT_EQ(to_json(parse_manifest(text, "m")), text);
}

TEST(Manifest, NamesTheKeyAndTheValueThatAreWrong) {
  const struct {
    const char* what;
    std::function<void(Json&)> change;
    const char* message;
  } cases[] = {
      {"a string for a number", [](Json& m) { m["min_accuracy"] = "x"; },
       "m.json: \"min_accuracy\" is \"x\", expected a number; the file is damaged or was not "
       "written by this tool: quantize the model again"},
      {"a list for a number", [](Json& m) { m["min_accuracy"] = Json::array(); },
       "\"min_accuracy\" is [], expected a number"},
      {"a number for a string", [](Json& m) { m["tool_version"] = 2; },
       "\"tool_version\" is 2, expected a string"},
      {"a missing key", [](Json& m) { m.erase("modality"); }, "m.json: \"modality\" is missing"},
      {"strings for warnings", [](Json& m) { m["warnings"] = "none"; },
       "\"warnings\" is \"none\", expected a list of strings"},
      {"a null for a shape", [](Json& m) { m["components"][0]["tensors"][0]["shape"] = nullptr; },
       "\"shape\" is null, expected a list of numbers"},
      {"a long value", [](Json& m) { m["min_accuracy"] = std::string(78, 'x') + "ü"; },
       "xxx…, expected a number"},
      {"no object for a part", [](Json& m) { m["components"][0]["parts"][0] = 3; },
       "an object with \"path\" is expected, this is 3"},
      {"another format", [](Json& m) { m["format"] = 1; }, "this is another tool's manifest"},
      {"a list", [](Json& m) { m = Json::array(); }, "a JSON object is expected, this is []"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    Json json = Json::parse(to_json(small_manifest()));
    c.change(json);
    const auto error = error_of([&] { parse_manifest(json.dump(), "m.json"); });
    if (error) {
      EXPECT_EQ(error->code(), ErrorCode::Metadata);
      EXPECT_THAT(error->what(), HasSubstr(c.message));
    }
  }
  EXPECT_THAT(error_of([] { parse_manifest("{\"format\": ", "m.json"); })->what(),
              HasSubstr("m.json: parse error at line 1, column 12"));
}

TEST(Manifest, NamesNoFileOutsideTheModel) {
  for (const char* path :
       {"../q/a.parquet", "/etc/a.parquet", "transformer/../../a.parquet", "", ".", "..", "a/.."}) {
    SCOPED_TRACE(path);
    for (const auto& change :
         {std::function([&](Json& m) { m["components"][0]["parts"][0]["path"] = path; }),
          std::function([&](Json& m) { m["copied_files"][0]["path"] = path; }),
          std::function([&](Json& m) { m["source_files"][0]["path"] = path; })}) {
      Json json = Json::parse(to_json(small_manifest()));
      change(json);
      const auto error = error_of([&] { parse_manifest(json.dump(), "m"); });
      if (error) {
        EXPECT_EQ(error->code(), ErrorCode::Metadata);
        EXPECT_THAT(error->what(), HasSubstr("\"path\" is \"" + std::string(path) +
                                             "\", expected a path below the model's directory"));
      }
    }
  }
  Json json = Json::parse(to_json(small_manifest()));
  json["components"][0]["subdir"] = "../transformer";
  EXPECT_THAT(error_of([&] { parse_manifest(json.dump(), "m"); })->what(),
              HasSubstr("\"subdir\" is \"../transformer\""));
}

}  // namespace
}  // namespace arrow_quant
