// TimeGroups: how a component's sampling steps are cut into groups that have bias corrections and
// activation parameters of their own. Stands once per component, in the manifest and in its parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace arrow_quant {

// Group 0 is the noisiest. "Timestep" is what the model is given; where kind is "masked_fraction"
// it is the fraction of masked tokens, 0 … 1.
struct TimeGroups {
  std::string kind = "timestep";  // or "masked_fraction"
  std::string schedule;           // words: where log-SNR came from
  // The steps that calibrated, from the noisiest to the cleanest: timesteps all rising or all
  // falling, log_snr = ln(signal² / noise²) rising. Both of T values, T ≥ the number of groups.
  std::vector<double> timesteps;
  std::vector<double> log_snr;
  // Between each two neighbouring groups, in the directions of timesteps and log_snr.
  std::vector<double> boundaries_timestep;
  std::vector<double> boundaries_log_snr;
  // How bias corrections go over from group to group: "" (they jump), "linear", "cubic" or
  // "sigmoid", within a window of so many steps.
  std::string interpolation;
  int64_t window = 0;
  // The same for activation parameters, within the same window.
  std::string activation_interpolation = {};

  size_t size() const { return boundaries_timestep.size() + 1; }
  // 0 … size() − 1; a timestep at a boundary is of the noisier group.
  size_t group_of(double timestep) const;

  bool operator==(const TimeGroups&) const = default;
};

// What breaks the rules above, as "name is value, expected what is allowed"; "" if nothing does.
std::string time_groups_problem(const TimeGroups& groups);

// One JSON object; the same groups give the same text.
std::string to_json(const TimeGroups& groups);
// `source` names the text in messages. Throws: Error(Metadata) for what is missing, of another type
// or against the rules.
TimeGroups parse_time_groups(const std::string& text, const std::string& source);

}  // namespace arrow_quant
