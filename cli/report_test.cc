#include "cli/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace arrow_quant::cli {
namespace {

LayerReport layer(const std::string& name, const std::string& quant_type,
                  const std::string& reason) {
  LayerReport report;
  report.name = name;
  report.component = "transformer";
  report.shape = {128, 256};
  report.dtype = "BF16";
  report.quant_type = quant_type;
  report.source_bytes = 65536;
  report.stored_bytes = 17408;
  report.reason = reason;
  if (quant_type != "none") {
    report.group_size = 128;
    report.cosine_similarity = 0.996;
    report.sqnr_db = 20.5;
  }
  return report;
}

TEST(ReportTest, AQuantizationIsSummedUpInLines) {
  QuantizationResult result;
  result.quantized_path = "out";
  result.compression_ratio = 3.5;
  result.cosine_similarity = 0.99723;
  result.worst_cosine_similarity = 0.996;
  result.worst_layer = "a.weight";
  result.sqnr_db = 22;
  result.model_size_mb = 0.0561;
  result.modality = "image";
  result.modality_evidence = "DiTPipeline";
  result.bits_per_weight = 4.25;
  result.bits_per_weight_model = 4.5;
  result.num_quantized = 2;
  result.num_kept = 3;
  result.quantization_time_s = 0.5;
  result.peak_memory_mb = 90.4;
  result.layers = {layer("a.weight", "int4", ""),
                   layer("ada.weight", "int8", "8 bits for adaLN modulation: ada"),
                   layer("n.weight", "none", "norm"), layer("t.weight", "none", "embedder: t"),
                   layer("m.weight", "none", "norm")};
  result.mechanisms.time_aware = result.mechanisms.spatial = {true, false, "no calibration data"};
  result.mechanisms.thermodynamic = {false, false, "off"};
  result.promotions = {{"p.weight", 2, 16, 0.5, 1, 2048}};
  result.allocation = {"target_bits_per_weight", 4.5, 4.25, 0, 0, 0, {}};
  for (const char* quant_type : {"int4", "none", "int4"}) {
    result.allocation->layers.emplace_back().choices = {{quant_type, 4, 0, 0, 1, true}};
  }
  EXPECT_EQ(
      report(result),
      "Quantized to out\n"
      "  compression       3.50x, 328 kB → 56.1 kB\n"
      "  bits per weight   4.250 in quantized layers, 4.500 in the model\n"
      "  target            4.500 bits per weight, 4.250 reached: int2 0, int4 2, int8 0, kept "
      "1\n"
      "  cosine            mean 0.99723, worst 0.99600 in a.weight\n"
      "  SQNR              mean 22.00 dB, worst 20.50 dB\n"
      "  tensors           2 quantized, 3 kept\n"
      "  kept              norm 2, embedder 1\n"
      "  other bits        8 bits for adaLN modulation 1\n"
      "  promoted          1 layer below the accuracy asked for, 2.05 kB more\n"
      "                    p.weight: int2 → kept, cosine 0.50000 → 1.00000\n"
      "  modality          image (DiTPipeline)\n"
      "  not applied       time-aware, spatial: no calibration data\n"
      "  time              0.50 s, peak memory 90 MiB\n"
      "  files             out, listed in its manifest.json\n");
}

TEST(ReportTest, AModelWithoutQuantizedLayersIsReportedToo) {
  QuantizationResult result;
  result.quantized_path = "out";
  result.cosine_similarity = 1;
  result.up_to_date = true;
  const std::string text = report(result);
  EXPECT_THAT(text, testing::StartsWith("out is up to date: verified, nothing was written\n"));
  EXPECT_THAT(text, testing::HasSubstr("  cosine            mean 1.00000\n"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("SQNR")));
}

TEST(ReportTest, AValidationListsWhatFailed) {
  ValidationResult result;
  result.cosine_similarity = 0.8;
  result.worst_cosine_similarity = 0.7;
  result.worst_layer = "b";
  result.sqnr_db = 10;
  result.compression_ratio = 3.5;
  result.model_size_mb = 1.5;
  result.min_accuracy = 0.85;
  result.layers = {{"a", "", "int4", 0.9, std::numeric_limits<double>::infinity(), 0},
                   {"b", "", "int4", 0.7, 10, 0.1}};
  result.mismatches = {{"c", "missing"}};
  EXPECT_EQ(report(result),
            "Not passed: worst cosine 0.70000, asked for 0.85\n"
            "  cosine            mean 0.80000, worst 0.70000 in b\n"
            "  SQNR              mean 10.00 dB, worst 10.00 dB\n"
            "  compression       3.50x, now 1.50 MB\n"
            "  layers            2 compared\n"
            "  problems          c: missing\n"
            "                    b: cosine 0.70000\n");
}

TEST(ReportTest, LongListsAreCut) {
  ValidationResult result;
  result.mismatches.assign(12, {"c", "missing"});
  EXPECT_THAT(report(result), testing::EndsWith("                    c: missing\n"
                                                "                    … and 2 more (--json lists "
                                                "all)\n"));
}

TEST(ReportTest, AnInspectionIsATableAndTotals) {
  ModelInspection inspection;
  inspection.kind = "quantized";
  inspection.path = "out";
  inspection.modality = "unknown";
  inspection.num_params = 65536;
  inspection.source_bytes = 131072;
  inspection.stored_bytes = 34816;
  inspection.bits_per_weight = 4.25;
  inspection.bits_per_weight_model = 4.25;
  inspection.layers = {layer("a.weight", "int4", ""), layer("n\n.weight", "none", "norm")};
  EXPECT_EQ(
      report(inspection),
      "tensor                 shape       dtype  stored as  group     size   cosine  SQNR dB  "
      "reason\n"
      "---------------------  ----------  -----  ---------  -----  -------  -------  -------  "
      "------\n"
      "transformer/a.weight   [128, 256]  BF16   int4         128  17.4 kB  0.99600    20.50\n"
      "transformer/n?.weight  [128, 256]  BF16   kept              17.4 kB                    "
      "norm\n"
      "\n"
      "out: a quantized model\n"
      "  tensors           2: 1 quantized, 1 kept; 65536 weights\n"
      "  size              131 kB → 34.8 kB\n"
      "  bits per weight   4.250 in quantized layers, 4.250 in the model\n"
      "  modality          unknown\n");
}

TEST(ReportTest, ExtrasAndTimeGroupsShowWhereThereAreAny) {
  ModelInspection inspection;
  inspection.kind = "quantized";
  inspection.layers = {layer("a.weight", "int4", ""), layer("n.weight", "none", "norm")};
  inspection.layers[0].extras = {
      {"hadamard", "low_rank", "input_scale"}, 128, 16, 3, 8, "dynamic", 3};
  inspection.components = {
      {"vae", std::nullopt},
      {"transformer",
       TimeGroups{
           "timestep", "", {950, 500, 0.25}, {-4, 0, 4}, {700, 300.5}, {-2, 1}, "linear", 5}}};
  const std::string text = report(inspection);
  EXPECT_THAT(text, testing::HasSubstr("extras                                             "));
  EXPECT_THAT(text,
              testing::HasSubstr(
                  "hadamard 128, low rank 16, input scale, 3 biases, 8-bit dynamic inputs\n"));
  EXPECT_THAT(text, testing::HasSubstr("  time groups       transformer: 3 of 3 steps, from 950 to "
                                       "0.25, cut at 700, 300.5; linear over 5 steps\n"));
}

}  // namespace
}  // namespace arrow_quant::cli
