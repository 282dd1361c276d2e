#include "arrow_quant/io/time_groups.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_extras.h"
#include "arrow_quant/io/json_field.h"
#include "arrow_quant/io/quote.h"
#include "arrow_quant/io/time_groups_json.h"

namespace arrow_quant {
namespace {

using Json = nlohmann::ordered_json;

// A larger timestep is noisier, unless the steps say otherwise.
bool falls(const std::vector<double>& timesteps) {
  return timesteps.size() < 2 || timesteps.front() > timesteps.back();
}

template <class Compare>
bool in_order(const std::vector<double>& values, Compare before) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }) &&
         std::adjacent_find(values.begin(), values.end(),
                            [&](double a, double b) { return !before(a, b); }) == values.end();
}

std::string out_of_order(const std::string& name, const std::string& allowed) {
  return name + " is out of order, expected finite numbers, " + allowed;
}

std::string size_problem(const std::string& name, size_t size, size_t expected) {
  return name + " is " + std::to_string(size) + " values long, expected " +
         std::to_string(expected);
}

bool is_interpolation(const std::string& name) {
  return name.empty() || name == "linear" || name == "cubic" || name == "sigmoid";
}

bool strictly(const std::vector<double>& values, bool falling) {
  return falling ? in_order(values, std::greater<>()) : in_order(values, std::less<>());
}

}  // namespace

size_t TimeGroups::group_of(double timestep) const {
  const bool falling = falls(timesteps);
  return static_cast<size_t>(std::count_if(
      boundaries_timestep.begin(), boundaries_timestep.end(),
      [&](double boundary) { return falling ? timestep < boundary : timestep > boundary; }));
}

std::string time_groups_problem(const TimeGroups& g) {
  if (g.kind != "timestep" && g.kind != "masked_fraction") {
    return "kind is " + quote(g.kind) + ", expected timestep or masked_fraction";
  }
  if (g.boundaries_log_snr.size() != g.boundaries_timestep.size()) {
    return size_problem("boundaries_log_snr", g.boundaries_log_snr.size(),
                        g.boundaries_timestep.size());
  }
  if (g.size() > kMaxTimeGroups || g.timesteps.size() < g.size()) {
    return "boundaries_timestep makes " + std::to_string(g.size()) +
           " groups, expected at most one per step and " + std::to_string(kMaxTimeGroups);
  }
  if (g.log_snr.size() != g.timesteps.size()) {
    return size_problem("log_snr", g.log_snr.size(), g.timesteps.size());
  }
  const bool falling = falls(g.timesteps);
  const std::string direction = falling ? "each below the one before" : "each above the one before";
  if (!strictly(g.timesteps, falling)) return out_of_order("timesteps", direction);
  if (!strictly(g.boundaries_timestep, falling)) {
    return out_of_order("boundaries_timestep", direction + ", as the timesteps");
  }
  if (!in_order(g.log_snr, std::less_equal<>())) {
    return out_of_order("log_snr", "none below the one before");
  }
  if (!in_order(g.boundaries_log_snr, std::less_equal<>())) {
    return out_of_order("boundaries_log_snr", "none below the one before");
  }
  for (const auto& [name, value] :
       {std::pair{"interpolation", &g.interpolation},
        std::pair{"activation_interpolation", &g.activation_interpolation}}) {
    if (!is_interpolation(*value)) {
      return std::string(name) + " is " + quote(*value) +
             ", expected \"\", linear, cubic or sigmoid";
    }
  }
  return g.window < 0 ? "window is " + std::to_string(g.window) + ", expected 0 or more" : "";
}

Json time_groups_json(const TimeGroups& groups) {
  return {{"kind", groups.kind},
          {"schedule", groups.schedule},
          {"timesteps", groups.timesteps},
          {"log_snr", groups.log_snr},
          {"boundaries_timestep", groups.boundaries_timestep},
          {"boundaries_log_snr", groups.boundaries_log_snr},
          {"interpolation", groups.interpolation},
          {"window", groups.window},
          {"activation_interpolation", groups.activation_interpolation}};
}

TimeGroups parse_time_groups(const Json& json, const std::string& source) {
  TimeGroups groups;
  groups.kind = field<std::string>(json, "kind");
  groups.schedule = field<std::string>(json, "schedule");
  groups.timesteps = field<std::vector<double>>(json, "timesteps");
  groups.log_snr = field<std::vector<double>>(json, "log_snr");
  groups.boundaries_timestep = field<std::vector<double>>(json, "boundaries_timestep");
  groups.boundaries_log_snr = field<std::vector<double>>(json, "boundaries_log_snr");
  groups.interpolation = field<std::string>(json, "interpolation");
  groups.window = field<int64_t>(json, "window");
  groups.activation_interpolation = json.value("activation_interpolation", "");
  if (const std::string problem = time_groups_problem(groups); !problem.empty()) {
    throw Error(ErrorCode::Metadata, source + ": the time groups' " + problem);
  }
  return groups;
}

std::string to_json(const TimeGroups& groups) {
  return time_groups_json(groups).dump(-1, ' ', false, Json::error_handler_t::replace);
}

TimeGroups parse_time_groups(const std::string& text, const std::string& source) {
  try {
    return parse_time_groups(Json::parse(text), source);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::Metadata,
                source + ": the time groups are not as expected: " + printable(error.what()));
  }
}

}  // namespace arrow_quant
