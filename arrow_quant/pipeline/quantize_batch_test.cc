#include "arrow_quant/pipeline/quantize_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "arrow_quant/io/arrow_codes.h"
#include "arrow_quant/io/arrow_weights.h"
#include "arrow_quant/quant/zero_point.h"

namespace arrow_quant {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// A layer's weights, and the row that looks at them.
struct Layer {
  std::string name;
  std::vector<int64_t> shape;
  size_t rows, cols;
  std::vector<float> weights;

  Layer(std::string name_, size_t rows_, size_t cols_, float sigma, unsigned seed)
      : name(std::move(name_)),
        shape{static_cast<int64_t>(rows_), static_cast<int64_t>(cols_)},
        rows(rows_),
        cols(cols_),
        weights(rows_ * cols_) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, sigma);
    for (float& w : weights) {
      w = normal(random);
    }
  }

  WeightRow row() const {
    return {name, shape, {weights.data(), DType::F32, rows, cols}, std::nullopt};
  }
};

// Small ones that share a piece, one of several pieces, a row that is cut, and one whose parameters
// need another tensor scale.
const std::vector<Layer>& layers() {
  static const std::vector<Layer> all = {
      {"one", 1, 1, 0.02f, 1},          {"short groups", 3, 200, 0.02f, 2},
      {"empty", 4, 0, 0.02f, 3},        {"pieces", 700, 1000, 0.02f, 4},
      {"long", 2, 1'300'000, 0.02f, 5}, {"tiny", 16, 128, 1e-9f, 6},
  };
  return all;
}

std::vector<WeightRow> rows_of(const std::vector<Layer>& all) {
  std::vector<WeightRow> rows;
  for (const Layer& layer : all) {
    rows.push_back(layer.row());
  }
  return rows;
}

// Everything that a batch holds, as bytes.
std::vector<std::string> contents(CodedBatch& batch) {
  std::vector<std::string> all;
  for (const CodedRow& row : batch.rows()) {
    std::string bytes(row.codes.begin(), row.codes.end());
    bytes.append(reinterpret_cast<const char*>(row.scales.data()), row.scales.size_bytes());
    bytes.append(reinterpret_cast<const char*>(row.zero_points.data()),
                 row.zero_points.size_bytes());
    bytes.append(reinterpret_cast<const char*>(&row.cosine_similarity), sizeof(float));
    bytes.append(reinterpret_cast<const char*>(&row.sqnr_db), sizeof(float));
    all.push_back(bytes);
  }
  return all;
}

class QuantizeBatchBits : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Bits, QuantizeBatchBits, ::testing::Values(2, 4, 8));

TEST_P(QuantizeBatchBits, GivesTheCodesAndParametersOfQuantizeRows) {
  DiffusionQuantConfig config;
  config.bit_width = GetParam();
  config.group_size = 64;
  CodedBatch batch = quantize_batch(rows_of(layers()), config);
  const QuantizeSpec spec{*bit_width_from_bits(GetParam()), 64};
  for (size_t i = 0; i < layers().size(); ++i) {
    const Layer& layer = layers()[i];
    const RowsView view{layer.weights.data(), DType::F32, layer.rows, layer.cols};
    const size_t groups = groups_per_row(layer.cols, 64);
    const size_t row_bytes = packed_row_bytes(layer.cols, spec.bit_width);
    std::vector<uint8_t> codes(layer.rows * row_bytes);
    std::vector<uint16_t> scales(layer.rows * groups), offsets(scales.size());
    QuantizeScratch scratch;
    ErrorStats error;
    RangeStats range;
    const float tensor_scale =
        choose_tensor_scale(scan_rows(view, spec.bit_width, spec.group_size, scratch));
    EXPECT_TRUE(layer.name != "tiny" || tensor_scale < 1.0f);
    quantize_rows(view, spec, tensor_scale,
                  {codes.data(), row_bytes, scales.data(), offsets.data(), groups}, error, range,
                  scratch);
    std::vector<float> expected_scales(scales.size()), expected_zero_points(scales.size());
    to_zero_points(scales.data(), GetParam() == 8 ? nullptr : offsets.data(), scales.size(),
                   tensor_scale, expected_scales.data(), expected_zero_points.data());
    const CodedRow& row = batch.rows()[i];
    EXPECT_EQ(std::vector(row.codes.begin(), row.codes.end()), codes) << layer.name;
    EXPECT_EQ(std::vector(row.scales.begin(), row.scales.end()), expected_scales) << layer.name;
    EXPECT_EQ(std::vector(row.zero_points.begin(), row.zero_points.end()), expected_zero_points)
        << layer.name;
    // Sums in another order.
    EXPECT_NEAR(row.cosine_similarity, error.cosine(), 1e-6) << layer.name;
    if (layer.cols != 0) {
      EXPECT_NEAR(row.sqnr_db, error.sqnr_db(), 1e-3) << layer.name;
    }
  }
}

TEST_P(QuantizeBatchBits, TheBytesDoNotDependOnThreads) {
  DiffusionQuantConfig config;
  config.bit_width = GetParam();
  config.num_threads = 1;
  CodedBatch alone = quantize_batch(rows_of(layers()), config);
  for (const int64_t threads : {2, 5}) {
    config.num_threads = threads;
    CodedBatch together = quantize_batch(rows_of(layers()), config);
    EXPECT_EQ(contents(together), contents(alone)) << threads;
  }
}

TEST_P(QuantizeBatchBits, DequantizingGivesScaleTimesCodeMinusZeroPoint) {
  DiffusionQuantConfig config;
  config.bit_width = GetParam();
  const std::vector<WeightRow> rows = rows_of(layers());
  const ArrowBatch coded = quantize_batch(rows, config).to_arrow(rows, false, "");
  const auto table = [&] {
    const auto array = coded.array();
    const auto schema = coded.schema();
    return ArrowTable::from_array(array.get(), schema.get());
  };
  const ArrowCodes codes(table());
  const ArrowBatch restored = dequantize_batch_arrow(table(), 2);
  const auto array = restored.array();
  const auto schema = restored.schema();
  const ArrowWeights weights(ArrowTable::from_array(array.get(), schema.get()));
  ASSERT_EQ(weights.rows().size(), layers().size());
  for (size_t i = 0; i < layers().size(); ++i) {
    const Layer& layer = layers()[i];
    const RowsView& view = weights.rows()[i].weights;
    EXPECT_EQ(weights.rows()[i].name, layer.name);
    EXPECT_EQ(weights.rows()[i].shape, layer.shape);
    std::vector<float> expected(layer.weights.size());
    dequantize_rows(*codes.rows()[i].codes, {0, 0, layer.rows, layer.cols}, expected.data());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), static_cast<const float*>(view.data)))
        << layer.name;
  }
}

TEST(QuantizeBatch, OnlyTheOptionsThatItNamesHaveAnEffect) {
  const std::vector<Layer> one = {{"fc", 8, 512, 0.02f, 7}};
  CodedBatch plain = quantize_batch(rows_of(one));
  const auto differs = [&](const DiffusionQuantConfig& config) {
    CodedBatch changed = quantize_batch(rows_of(one), config);
    return contents(changed) != contents(plain);
  };
  DiffusionQuantConfig config;
  EXPECT_FALSE(differs(config));
  config.min_accuracy = 1.0;  // no fallback: the layer keeps its 4 bits
  config.fail_fast = true;
  config.modules_to_not_convert = {"fc"};
  EXPECT_FALSE(differs(config));
  EXPECT_TRUE(differs([] {
    DiffusionQuantConfig c;
    c.bit_width = 2;
    return c;
  }()));
  EXPECT_TRUE(differs([] {
    DiffusionQuantConfig c;
    c.group_size = 32;
    return c;
  }()));
  EXPECT_TRUE(differs([] {
    DiffusionQuantConfig c;
    c.method = QuantMethod::Rtn;
    return c;
  }()));
  EXPECT_TRUE(differs([] {
    DiffusionQuantConfig c;
    c.error_norm = 2;
    return c;
  }()));
}

TEST(QuantizeBatch, DoublesAndHalvesGiveTheCodesOfTheirFloats) {
  const Layer layer("fc", 5, 300, 0.02f, 8);
  std::vector<uint16_t> halves(layer.weights.size());
  narrow_from_f32(layer.weights.data(), halves.size(), DType::F16, halves.data());
  std::vector<float> rounded(halves.size());
  widen_to_f32(halves.data(), DType::F16, halves.size(), rounded.data());
  const std::vector<double> doubles(rounded.begin(), rounded.end());
  std::vector<WeightRow> rows(3, layer.row());
  rows[0].weights.data = rounded.data();
  rows[1].weights = {halves.data(), DType::F16, 5, 300};
  rows[2].weights = {doubles.data(), DType::F64, 5, 300};
  CodedBatch batch = quantize_batch(rows);
  EXPECT_EQ(contents(batch)[1], contents(batch)[0]);
  EXPECT_EQ(contents(batch)[2], contents(batch)[0]);
}

// Three layers, the middle one with a weight that is not finite.
std::vector<Layer> with_bad_weight(float value) {
  std::vector<Layer> all = {{"a", 2, 100, 0.02f, 1}, {"b", 2, 100, 0.02f, 2}, {"c", 1, 9, 1.0f, 3}};
  all[1].weights[107] = value;
  return all;
}

TEST(QuantizeBatch, AWeightThatCannotBeQuantizedIsNamed) {
  const std::pair<float, const char*> cases[] = {{NAN, "nan at [1, 7]"},
                                                 {-INFINITY, "-inf at [1, 7]"},
                                                 {3e38f, "weights up to 3e+38: beyond"}};
  for (const auto& [value, text] : cases) {
    const std::vector<Layer> bad = with_bad_weight(value);
    try {
      quantize_batch(rows_of(bad));
      FAIL() << "no Error was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidRow);
      EXPECT_THAT(error.what(),
                  HasSubstr(std::string("column 'weights', row 1 (\"b\") holds ") + text));
    }
  }
}

TEST(QuantizeBatch, BadRowsCanBeLeftOut) {
  const std::vector<Layer> bad = with_bad_weight(NAN);
  std::vector<WeightRow> rows = rows_of(bad);
  rows.push_back({"d", {}, {}, Error(ErrorCode::InvalidRow, "said before")});
  CodedBatch batch = quantize_batch(rows, {}, {.continue_on_error = true});
  EXPECT_FALSE(batch.rows()[0].error || batch.rows()[2].error);
  EXPECT_THAT(batch.rows()[1].error->what(), HasSubstr("row 1 (\"b\") holds nan at [1, 7]"));
  EXPECT_THAT(batch.rows()[1].codes, Each(0));
  EXPECT_STREQ(batch.rows()[3].error->what(), "said before");
  // The others are as they would be without it.
  std::vector<WeightRow> good = {rows[0], rows[2]};
  CodedBatch alone = quantize_batch(good);
  EXPECT_EQ(contents(batch)[0], contents(alone)[0]);
  EXPECT_EQ(contents(batch)[2], contents(alone)[1]);
}

TEST(QuantizeBatch, TheFirstBadRowIsThrown) {
  std::vector<WeightRow> rows = rows_of(layers());
  rows[2].error = Error(ErrorCode::ShapeMismatch, "first");
  rows[4].error = Error(ErrorCode::InvalidRow, "second");
  try {
    quantize_batch(rows);
    FAIL() << "no Error was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::ShapeMismatch);
    EXPECT_STREQ(error.what(), "first");
  }
}

TEST(QuantizeBatch, ShapesWithoutElementsTakeNoTime) {
  std::vector<WeightRow> rows(1);
  rows[0].name = "none";
  rows[0].shape = {int64_t{1} << 50, 0};
  rows[0].weights = {nullptr, DType::F32, size_t{1} << 50, 0};
  const ArrowBatch coded = quantize_batch(rows).to_arrow(rows, false, "");
  const auto array = coded.array();
  const auto schema = coded.schema();
  const ArrowBatch restored =
      dequantize_batch_arrow(ArrowTable::from_array(array.get(), schema.get()));
  EXPECT_EQ(restored.num_rows(), 1);
}

TEST(QuantizeBatch, StopsWhenAskedTo) {
  CancelToken cancel;
  cancel.cancel();
  try {
    quantize_batch(rows_of(layers()), {}, {.cancel = &cancel});
    FAIL() << "no Error was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Cancelled);
  }
}

TEST(QuantizeBatch, BadOptionsAreRefused) {
  DiffusionQuantConfig config;
  config.bit_width = 3;
  EXPECT_THROW(quantize_batch({}, config), Error);
}

}  // namespace
}  // namespace arrow_quant
