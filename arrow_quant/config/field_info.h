// What is written of an option beside its member of DiffusionQuantConfig.
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
  std::string_view path = {};   // where it stands if nested: "thermodynamic.validation.enabled"
  std::string_view flags = {};  // on the command line, separated by commas
  std::string_view doc;
  std::span<const double> one_of = {};  // numbers: the allowed ones; empty: min … max
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;                     // min itself is not allowed
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
inline constexpr std::array kEnumerators<InterpolationMethod>{
    InterpolationMethod::Linear, InterpolationMethod::Cubic, InterpolationMethod::Sigmoid};
template <>
inline constexpr std::array kEnumerators<BetaSchedule>{BetaSchedule::Linear, BetaSchedule::Cosine};
template <>
inline constexpr std::array kEnumerators<QuantMode>{QuantMode::Diffusion, QuantMode::Base};
template <>
inline constexpr std::array kEnumerators<QuantMethod>{QuantMethod::Rtn, QuantMethod::Mse};
template <>
inline constexpr std::array kEnumerators<OnNonFinite>{OnNonFinite::Error, OnNonFinite::Keep};
template <>
inline constexpr std::array kEnumerators<ActivationMode>{ActivationMode::Dynamic,
                                                         ActivationMode::Static};
template <>
inline constexpr std::array kEnumerators<Quality>{Quality::Standard, Quality::High};
template <>
inline constexpr std::array kEnumerators<Compensation>{Compensation::Auto, Compensation::Off};
template <>
inline constexpr std::array kEnumerators<Rotation>{Rotation::Auto, Rotation::Off};

}  // namespace arrow_quant
