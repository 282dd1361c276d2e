// The one list of options: for every field of DiffusionQuantConfig its names, what it allows and
// one line of documentation. YAML keys, keyword arguments, flags and the manifest follow from it.
#pragma once

#include <array>
#include <limits>
#include <span>
#include <string_view>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant {

struct FieldInfo {
  std::string_view name;
  std::string_view alias = {};  // a second name, accepted wherever the first is
  std::string_view flags = {};  // on the command line, separated by commas; "": none
  std::string_view doc;
  std::span<const double> one_of = {};  // numbers: the allowed ones; empty: min … max
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool changes_output = true;                 // whether it can change a byte of the output
  ErrorCode code = ErrorCode::Configuration;  // of the error for a value that is not allowed
};

// All values of an enumeration that is an option's type; their names are those of to_string.
template <class Enum>
inline constexpr std::array<Enum, 0> kEnumerators{};
template <>
inline constexpr std::array kEnumerators<Modality>{Modality::Text, Modality::Code, Modality::Image,
                                                   Modality::Audio};
template <>
inline constexpr std::array kEnumerators<DeploymentProfile>{
    DeploymentProfile::Edge, DeploymentProfile::Local, DeploymentProfile::Cloud};
template <>
inline constexpr std::array kEnumerators<QuantMethod>{QuantMethod::Rtn, QuantMethod::Mse};
template <>
inline constexpr std::array kEnumerators<OnNonFinite>{OnNonFinite::Error, OnNonFinite::Keep};

inline constexpr double kBitWidths[] = {2, 4, 8};
inline constexpr double kGroupSizes[] = {32, 64, 128, 256};
inline constexpr double kErrorNorms[] = {2, 2.5, 3, 4};

// Calls visit(FieldInfo, member) for every field, in the order of the struct. Config is
// DiffusionQuantConfig or const DiffusionQuantConfig.
template <class Config, class Visitor>
void visit_fields(Config& config, Visitor&& visit) {
  visit(FieldInfo{.name = "bit_width",
                  .alias = "bits",
                  .flags = "--bits,--bit-width",
                  .doc = "bits of a quantized weight",
                  .one_of = kBitWidths,
                  .code = ErrorCode::InvalidBitWidth},
        config.bit_width);
  visit(FieldInfo{.name = "modality",
                  .flags = "--modality",
                  .doc = "what the model makes; detected if not given"},
        config.modality);
  visit(FieldInfo{.name = "group_size",
                  .flags = "--group-size",
                  .doc = "weights along the input axis that share a scale",
                  .one_of = kGroupSizes},
        config.group_size);
  visit(FieldInfo{.name = "min_accuracy",
                  .flags = "--min-accuracy",
                  .doc = "cosine similarity below which a layer gets more bits",
                  .min = 0,
                  .max = 1},
        config.min_accuracy);
  visit(FieldInfo{.name = "deployment_profile",
                  .flags = "--profile,--deployment-profile",
                  .doc = "sets the defaults of bits, group size and min accuracy",
                  .changes_output = false},
        config.deployment_profile);
  visit(
      FieldInfo{.name = "fail_fast",
                .flags = "--fail-fast",
                .doc = "stop at the first layer below min accuracy instead of giving it more bits",
                .changes_output = false},
      config.fail_fast);
  visit(FieldInfo{.name = "num_threads",
                  .flags = "--threads,--num-threads",
                  .doc = "threads to use; 0: as many as this process may use",
                  .min = 0,
                  .max = 1024,
                  .changes_output = false},
        config.num_threads);
  visit(FieldInfo{.name = "method",
                  .flags = "--method",
                  .doc = "how scales are found: least error, or round to nearest on the range"},
        config.method);
  visit(FieldInfo{.name = "error_norm",
                  .flags = "--error-norm",
                  .doc = "the p of the error sum |w - w'|^p that method mse makes least",
                  .one_of = kErrorNorms},
        config.error_norm);
  visit(FieldInfo{.name = "components",
                  .flags = "--component,--components",
                  .doc = "parts of a pipeline to quantize; the denoiser if not given"},
        config.components);
  visit(FieldInfo{.name = "modules_to_not_convert",
                  .flags = "--keep,--modules-to-not-convert",
                  .doc = "tensors to keep: part of a name, or re: and a regular expression"},
        config.modules_to_not_convert);
  visit(FieldInfo{.name = "modules_to_convert",
                  .flags = "--modules-to-convert",
                  .doc = "tensors to quantize although a built-in rule would keep them"},
        config.modules_to_convert);
  visit(FieldInfo{.name = "on_nonfinite",
                  .flags = "--on-nonfinite",
                  .doc = "a NaN or infinite weight: an error, or its tensor is kept"},
        config.on_nonfinite);
  visit(FieldInfo{.name = "variant",
                  .flags = "--variant",
                  .doc = "which files of the source to take, such as fp16"},
        config.variant);
  visit(FieldInfo{.name = "max_part_size_mb",
                  .flags = "--max-part-size-mb",
                  .doc = "largest size of one output part, in MiB",
                  .min = 1,
                  .max = 1048576},
        config.max_part_size_mb);
  visit(FieldInfo{.name = "overwrite",
                  .flags = "--overwrite",
                  .doc = "replace what stands at the output path",
                  .changes_output = false},
        config.overwrite);
}

}  // namespace arrow_quant
