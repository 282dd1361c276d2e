// The names and numbers of the part file format that writer and reader share; FORMAT.md explains
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace arrow_quant {

// Keys of the file's key-value metadata.
inline constexpr std::string_view kFormatVersionKey = "arrow_quant.format_version";
inline constexpr std::string_view kRequiredFeaturesKey = "arrow_quant.required_features";
inline constexpr std::string_view kTimeGroupsKey = "arrow_quant.time_groups";

inline constexpr int kPartFormatVersion = 1;

inline constexpr std::string_view kPackingLsbFirst = "lsb_first";
inline constexpr std::string_view kParamEncodingFp16 = "fp16";
inline constexpr std::string_view kBiasEncodingFp16 = "fp16";
inline constexpr std::array<int, 4> kGroupSizes = {32, 64, 128, 256};

// Kept blocks below this size share row groups.
inline constexpr size_t kSharedBlockBytes = size_t{64} << 10;
inline constexpr size_t kSharedRowGroupRows = 256;

}  // namespace arrow_quant
