#include "arrow_quant/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "arrow_quant/core/float16.h"
#include "arrow_quant/kernels/reference.h"
#include "arrow_quant/kernels/target_test_util.h"

namespace arrow_quant::kernels {
namespace {

using KernelsTest = TargetTest;
INSTANTIATE_TEST_SUITE_P(AllTargets, KernelsTest, testing::ValuesIn(targets_of_this_machine()),
                         target_name);

// Weights of many kinds, some of them hard: outliers, constants, zeros of both signs, tiny ones.
std::vector<float> random_weights(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  const float scales[] = {0.02f, 1.0f, 300.0f, 1e-6f, 1e-30f};
  const float scale = scales[random() % 5];
  const unsigned kind = random() % 8;
  const float center = random() % 3 == 0 ? normal(random) : 0.0f;
  for (float& v : x) {
    v = normal(random) * scale;
    if (kind == 1) v *= std::exp(2.0f * normal(random));
    if (kind == 2 && random() % 2 == 0) v = random() % 2 == 0 ? 0.0f : -0.0f;
    if (kind == 3) v = center;
    if (kind == 4) v = center + v * 1e-4f;
    if (kind == 5) v = random() % 16 == 0 ? 1.0f : -0.0f;
    if (kind == 6) v = std::abs(v);
  }
  return x;
}

struct TestTable {
  GroupTable table;
  std::vector<float> x;
  std::vector<uint16_t> halves;  // the same, if the table is of 16 bits
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales, offsets;
  std::vector<RunSums> sums;
};

constexpr uint8_t kUntouched = 0xA5;

// Makes it a table of fp16 or bfloat16, and rounds x accordingly.
void to_halves(DType dtype, TestTable& t) {
  t.halves.resize(t.x.size());
  narrow(t.x.data(), t.x.size(), dtype, t.halves.data());
  widen(t.halves.data(), dtype, t.x.size(), 1.0f, t.x.data());
  t.table.x = t.halves.data();
  t.table.dtype = dtype;
}

TestTable random_table(int bits, std::mt19937& random) {
  TestTable t;
  const size_t sizes[] = {32, 64, 128, 256};
  const size_t step = sizes[random() % 4];
  GroupTable& g = t.table;
  g.rows = 1 + random() % 5;
  g.groups_per_row = random() % 3 == 0 ? 1 : 1 + random() % 40;
  g.group_step = step;
  // Shorter groups stand alone in their row.
  g.group_size = g.groups_per_row == 1 ? 1 + random() % step : step;
  const size_t cols = g.groups_per_row * step;
  g.x_stride = cols + random() % 3;
  g.codes_stride = cols * static_cast<size_t>(bits) / 8 + random() % 3;
  g.params_stride = g.groups_per_row + random() % 3;
  g.sums_stride = (g.groups_per_row + kRunGroups - 1) / kRunGroups + random() % 3;
  const bool both_signs = random() % 2 == 0;  // in every group, as usual
  for (size_t r = 0; r < g.rows; ++r) {
    for (size_t group = 0; group < g.groups_per_row; ++group) {
      std::vector<float> part = random_weights(step, random);
      if (both_signs) {
        part[0] = -0.01f - std::abs(part[0]);
        part[1] = 0.01f + std::abs(part[1]);
      }
      t.x.insert(t.x.end(), part.begin(), part.end());
    }
    t.x.resize((r + 1) * g.x_stride);
  }
  g.x = t.x.data();
  const DType types[] = {DType::F32, DType::F16, DType::BF16};
  const DType dtype = types[random() % 3];
  if (dtype == DType::F16) {
    for (float& v : t.x) v = std::clamp(v, -65504.0f, 65504.0f);
  }
  if (dtype != DType::F32) to_halves(dtype, t);
  t.codes.assign(g.rows * g.codes_stride, kUntouched);
  t.scales.assign(g.rows * g.params_stride, 0xFFFF);
  t.offsets.assign(g.rows * g.params_stride, 0xFFFF);
  t.sums.resize(g.rows * g.sums_stride);
  g.codes = t.codes.data();
  g.scales = t.scales.data();
  g.offsets = bits == 8 ? nullptr : t.offsets.data();
  g.sums = t.sums.data();
  return t;
}

std::string describe(const GroupTable& g, const Coding& coding) {
  return std::string(to_string(g.dtype)) + ", " + std::to_string(coding.bits) + " bits, norm " +
         (coding.search ? std::to_string(static_cast<int>(coding.norm)) : "none") + ", group " +
         std::to_string(g.group_size) + " of " + std::to_string(g.group_step) + ", " +
         std::to_string(g.rows) + " x " + std::to_string(g.groups_per_row);
}

// Every output of a table as the plain loops define it, untouched bytes included.
void quantize_plainly(TestTable& t, const Coding& coding) {
  const GroupTable& g = t.table;
  const auto bits = static_cast<size_t>(coding.bits);
  for (size_t r = 0; r < g.rows; ++r) {
    reference::RunMeasure measure;
    for (size_t j = 0; j < g.groups_per_row; ++j) {
      if (j % kRunGroups == 0) measure = {};
      const auto x = std::span(t.x).subspan(r * g.x_stride + j * g.group_step, g.group_size);
      const reference::QuantizedGroup group = reference::quantize_group(x, coding, measure);
      reference::pack_codes(group.codes, coding.bits,
                            &t.codes[r * g.codes_stride + j * g.group_step * bits / 8]);
      t.scales[r * g.params_stride + j] = group.scale;
      if (coding.bits != 8) t.offsets[r * g.params_stride + j] = group.offset;
      t.sums[r * g.sums_stride + j / kRunGroups] = measure.sums();
    }
  }
}

bool same_bytes(const std::vector<RunSums>& a, const std::vector<RunSums>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(RunSums)) == 0;
}

TEST_P(KernelsTest, QuantizeWritesTheBytesAndSumsOfThePlainLoops) {
  std::mt19937 random(1);
  const ErrorNorm norms[] = {ErrorNorm::P2, ErrorNorm::P2_5, ErrorNorm::P3, ErrorNorm::P4};
  for (int trial = 0; trial < 300; ++trial) {
    const int bits = 2 << (trial % 3);
    const Coding coding = {bits, random() % 4 != 0, norms[random() % 4]};
    TestTable actual = random_table(bits, random);
    TestTable expected = actual;
    quantize_groups(actual.table, coding);
    quantize_plainly(expected, coding);
    SCOPED_TRACE(describe(actual.table, coding));
    ASSERT_EQ(actual.scales, expected.scales);
    ASSERT_EQ(actual.offsets, expected.offsets);
    ASSERT_EQ(actual.codes, expected.codes);
    ASSERT_TRUE(same_bytes(actual.sums, expected.sums));
  }
}

TEST_P(KernelsTest, NotMeasuringChangesNoByte) {
  std::mt19937 random(2);
  for (const int bits : {2, 4, 8}) {
    TestTable measured = random_table(bits, random);
    TestTable bare = measured;
    bare.table.codes = bare.codes.data();
    bare.table.scales = bare.scales.data();
    bare.table.offsets = bits == 8 ? nullptr : bare.offsets.data();
    bare.table.sums = nullptr;
    quantize_groups(measured.table, {bits, true, ErrorNorm::P3});
    quantize_groups(bare.table, {bits, true, ErrorNorm::P3});
    EXPECT_EQ(measured.codes, bare.codes);
    EXPECT_EQ(measured.scales, bare.scales);
    EXPECT_EQ(measured.offsets, bare.offsets);
  }
}

TEST_P(KernelsTest, RangeIsThatOfAllGroups) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 100; ++trial) {
    const int bits = 2 << (trial % 3);
    TestTable t = random_table(bits, random);
    const GroupTable& g = t.table;
    Range expected;
    for (size_t r = 0; r < g.rows; ++r) {
      for (size_t j = 0; j < g.groups_per_row; ++j) {
        const float* x = t.x.data() + r * g.x_stride + j * g.group_step;
        const auto [lo, hi] = std::minmax_element(x, x + g.group_size);
        const float abs_max = std::max(std::abs(*lo), std::abs(*hi));
        const float width = bits == 8 || *lo == *hi ? abs_max : *hi - *lo;
        const float scale = width / reference::highest_code(bits);
        expected.abs_max = std::max(expected.abs_max, abs_max);
        if (scale > 0) expected.min_scale = std::min(expected.min_scale, scale);
      }
    }
    for (const Range& range : {scan_groups(g, bits), quantize_groups(g, {bits})}) {
      EXPECT_EQ(range.abs_max, expected.abs_max);
      EXPECT_EQ(range.min_scale, expected.min_scale);
      EXPECT_TRUE(range.finite);
    }
  }
}

TEST_P(KernelsTest, OneWeightThatIsNotFiniteIsNoticedWhereverItIs) {
  std::mt19937 random(4);
  const float bad_values[] = {NAN, INFINITY, -INFINITY};
  for (int trial = 0; trial < 200; ++trial) {
    TestTable t = random_table(4, random);
    const GroupTable& g = t.table;
    const size_t row = random() % g.rows, group = random() % g.groups_per_row;
    t.x[row * g.x_stride + group * g.group_step + random() % g.group_size] =
        bad_values[random() % 3];
    if (g.dtype != DType::F32) to_halves(g.dtype, t);
    EXPECT_FALSE(scan_groups(g, 4).finite);
    quantize_groups(g, {4, trial % 2 == 0});
    EXPECT_FALSE(std::isfinite(t.sums[row * g.sums_stride + group / kRunGroups].original_sq));
  }
}

TEST_P(KernelsTest, PackedCodesHaveTheDocumentedLayoutAndComeBack) {
  std::mt19937 random(5);
  for (const int bits : {2, 4, 8}) {
    for (size_t count = 1; count <= 300; ++count) {
      std::vector<uint8_t> codes(count);
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1u));
      const size_t bytes = (count * static_cast<size_t>(bits) + 7) / 8;
      std::vector<uint8_t> packed(bytes + 1, kUntouched), expected(bytes + 1, kUntouched);
      std::vector<uint8_t> padded = codes;
      padded.resize((count + 63) / 64 * 64, kUntouched);
      pack_codes(padded.data(), count, bits, packed.data());
      reference::pack_codes(codes, bits, expected.data());
      ASSERT_EQ(packed, expected) << bits << " bits, " << count;
      std::vector<uint8_t> unpacked((count + 63) / 64 * 64);
      unpack_codes(packed.data(), count, bits, unpacked.data());
      unpacked.resize(count);
      ASSERT_EQ(unpacked, codes) << bits << " bits, " << count;
    }
  }
}

TEST_P(KernelsTest, DequantizeGivesTheFloatsOfThePlainLoop) {
  std::mt19937 random(6);
  for (const int bits : {2, 4, 8}) {
    for (const size_t cols : {1, 2, 3, 7, 9, 16, 31, 32, 33, 100, 128, 129, 255, 256, 1000}) {
      CodedRow row;
      row.cols = cols;
      row.group_size = size_t{32} << (random() % 4);
      row.bits = bits;
      row.tensor_scale = std::ldexp(1.0f, static_cast<int>(random() % 100) - 50);
      std::vector<uint8_t> codes((cols * static_cast<size_t>(bits) + 7) / 8);
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
      std::vector<uint16_t> scales(cols / row.group_size + 1), offsets(scales.size());
      for (uint16_t& scale : scales) scale = static_cast<uint16_t>(random() % 0x7C00);
      for (uint16_t& offset : offsets) offset = static_cast<uint16_t>(random() % 0x7C00);
      row.codes = codes.data();
      row.scales = scales.data();
      row.offsets = offsets.data();
      std::vector<float> actual(cols + 1, -7.0f), expected(cols + 1, -7.0f);
      dequantize_row(row, actual.data());
      reference::dequantize_row(row, expected.data());
      ASSERT_EQ(actual, expected) << bits << " bits, " << cols;
    }
  }
}

TEST_P(KernelsTest, DequantizeWithZeroPointsGivesTheFloatsOfThePlainLoop) {
  std::mt19937 random(10);
  for (const int bits : {2, 4, 8}) {
    for (const size_t cols : {1, 3, 9, 16, 33, 100, 129, 256, 1000}) {
      ZeroPointRow row;
      row.cols = cols;
      row.group_size = size_t{32} << (random() % 4);
      row.bits = bits;
      std::vector<uint8_t> codes((cols * static_cast<size_t>(bits) + 7) / 8);
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
      const std::vector<float> scales = random_weights(cols / row.group_size + 1, random);
      const std::vector<float> zero_points = random_weights(scales.size(), random);
      row.codes = codes.data();
      row.scales = scales.data();
      for (const float* given : {zero_points.data(), static_cast<const float*>(nullptr)}) {
        row.zero_points = given;
        std::vector<float> actual(cols + 1, -7.0f), expected(cols + 1, -7.0f);
        dequantize_row(row, actual.data());
        reference::dequantize_row(row, expected.data());
        ASSERT_EQ(actual, expected) << bits << " bits, " << cols;
      }
    }
  }
}

TEST_P(KernelsTest, CompareGivesTheSumsOfThePlainLoop) {
  std::mt19937 random(7);
  for (size_t count = 0; count < 100; ++count) {
    const std::vector<float> x = random_weights(count, random);
    const std::vector<float> y = random_weights(count, random);
    const CompareSums actual = compare(x.data(), y.data(), count);
    const CompareSums expected = reference::compare(x, y);
    EXPECT_EQ(actual.dot, expected.dot);
    EXPECT_EQ(actual.original_sq, expected.original_sq);
    EXPECT_EQ(actual.restored_sq, expected.restored_sq);
    EXPECT_EQ(actual.error_sq, expected.error_sq);
    EXPECT_EQ(actual.max_abs_error, expected.max_abs_error);
  }
}

TEST_P(KernelsTest, GridsGiveTheValuesAndErrorsOfThePlainLoop) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> x(203);
  for (float& value : x) value = 0.05f * normal(random);
  for (const UniformGrid grid :
       {UniformGrid{0.013f, 0, -6, 9}, UniformGrid{0.004f, -0.05f, 0, 255}}) {
    for (const size_t count : {0u, 1u, 15u, 16u, 203u}) {
      std::vector<float> values(count), errors(count), expected(count), lost(count);
      grid_values(x.data(), count, grid, values.data());
      grid_errors(x.data(), count, grid, errors.data());
      for (size_t i = 0; i < count; ++i) {
        const float place = (x[i] - grid.offset) / grid.scale;
        const float code = std::nearbyint(std::min(std::max(place, grid.least), grid.most));
        const float product = code * grid.scale;
        expected[i] = product + grid.offset;
        lost[i] = expected[i] - x[i];
      }
      EXPECT_EQ(values, expected) << count;
      EXPECT_EQ(errors, lost) << count;
    }
  }
}

void expect_same_float(float actual, float expected, size_t i) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(actual)) << i;
  } else {
    ASSERT_EQ(actual, expected) << i;
    ASSERT_EQ(std::signbit(actual), std::signbit(expected)) << i;
  }
}

TEST_P(KernelsTest, EveryCodeOfSixteenAndEightBitsWidensExactly) {
  for (const DType dtype : {DType::F16, DType::BF16, DType::F8_E4M3, DType::F8_E5M2}) {
    const size_t count = size_t{1} << bits_of(dtype);
    std::vector<uint8_t> data(count * static_cast<size_t>(bits_of(dtype)) / 8);
    for (size_t i = 0; i < count; ++i)
      std::memcpy(&data[i * data.size() / count], &i, data.size() / count);
    std::vector<float> wide(count);
    widen(data.data(), dtype, count, 1.0f, wide.data());
    for (size_t i = 0; i < count; ++i) {
      expect_same_float(wide[i], reference::widen(data.data(), dtype, i), i);
    }
  }
}

TEST_P(KernelsTest, DoublesRoundToFloatAndOverflowToInfinity) {
  const std::vector<double> data = {0.0,   -0.0, 0.1,     1e300,    -1e300, 1e-320, 3.4028235e38,
                                    1e-45, NAN,  2.5e-46, INFINITY, -0.3,   1e39,   7.0};
  for (size_t count = 1; count <= data.size(); ++count) {
    std::vector<float> wide(count + 1, -7.0f);
    widen(data.data(), DType::F64, count, 1.0f, wide.data());
    for (size_t i = 0; i < count; ++i) {
      expect_same_float(wide[i], static_cast<float>(data[i]), i);
    }
    EXPECT_EQ(wide[count], -7.0f);
  }
}

TEST_P(KernelsTest, WideningFromAnyAddressMultiplies) {
  std::vector<uint8_t> bytes(1000);
  std::mt19937 random(8);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (const DType dtype : {DType::F32, DType::F64, DType::BF16, DType::F16, DType::F8_E4M3}) {
    for (const size_t start : {0, 1, 3}) {
      std::vector<float> wide(77);
      widen(&bytes[start], dtype, wide.size(), 0.25f, wide.data());
      for (size_t i = 0; i < wide.size(); ++i) {
        expect_same_float(wide[i], reference::widen(&bytes[start], dtype, i) * 0.25f, i);
      }
    }
  }
}

TEST_P(KernelsTest, NarrowingRoundsToNearestEven) {
  std::mt19937 random(9);
  std::vector<float> x = {0.0f,    -0.0f, 65504.0f, 65519.99f, 65520.0f,      65536.0f, 1e38f,
                          3.4e38f, 6e-8f, 2.98e-8f, 2.981e-8f, 1e-40f,        INFINITY, -INFINITY,
                          NAN,     -NAN,  6.1e-5f,  6.09e-5f,  1.00048828125f};
  for (int i = 0; i < 20000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    x.push_back(reference::element<float>(&bits, 0));
    // Midpoints and their neighbours.
    const uint32_t middle = (bits & 0xFFFF0000u) + 0x8000u + random() % 3 - 1;
    x.push_back(reference::element<float>(&middle, 0));
    x.push_back(half_to_float(static_cast<uint16_t>(bits)) * (1.0f + 0x1p-12f));
  }
  std::vector<uint16_t> half(x.size()), brain(x.size());
  narrow(x.data(), x.size(), DType::F16, half.data());
  narrow(x.data(), x.size(), DType::BF16, brain.data());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(half[i], float_to_half(x[i])) << x[i];
    ASSERT_EQ(brain[i], reference::narrow_to_bf16(x[i])) << x[i];
  }
}

}  // namespace
}  // namespace arrow_quant::kernels
