#include "arrow_quant/diffusion/thermodynamic.h"

#include "arrow_quant/core/enum_names.h"

namespace arrow_quant {
namespace {

constexpr std::array<std::string_view, 3> kInterpolations = {"linear", "cubic", "sigmoid"};
constexpr std::array<std::string_view, 2> kSchedules = {"linear", "cosine"};

}  // namespace

std::string_view to_string(InterpolationMethod method) {
  return enum_name(kInterpolations, method);
}

std::optional<InterpolationMethod> parse_interpolation_method(std::string_view name) {
  return enum_value<InterpolationMethod>(kInterpolations, name);
}

std::string_view to_string(BetaSchedule schedule) {
  return enum_name(kSchedules, schedule);
}

std::optional<BetaSchedule> parse_beta_schedule(std::string_view name) {
  return enum_value<BetaSchedule>(kSchedules, name);
}

}  // namespace arrow_quant
