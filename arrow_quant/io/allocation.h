// Allocation: how bits were shared out among layers where a size was asked for instead of bits, and
// why each layer got its own; as the manifest records it and as results hand it out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace arrow_quant {

// One way in which a layer could be stored.
struct WidthChoice {
  std::string quant_type;  // "int2", "int4", "int8"; "none": kept
  int bit_width = 0;       // of a code; kept: of the source's type
  int64_t stored_bytes = 0;
  double nmse = 0;  // Σ(w − ŵ)² / Σw²
  double cosine_similarity = 1;
  bool allowed = true;  // neither a rule nor min_accuracy speaks against it

  bool operator==(const WidthChoice&) const = default;
};

struct LayerAllocation {
  std::string name;
  std::string component;
  int64_t num_params = 0;
  size_t chosen = 0;        // index into choices
  double error_weight = 1;  // of its nmse in the sum that is made least
  std::string group;        // layers of the same group have the same bits; "": none
  // What the last step up saves: weighted nmse per byte, of the whole group. Unset where no step up
  // was taken.
  std::optional<double> gain_per_byte;
  std::string rule;  // what fixed its bits or left out choices, in words; "": the target alone
  std::vector<WidthChoice> choices;

  bool operator==(const LayerAllocation&) const = default;
};

struct Allocation {
  std::string target;  // the option: "target_bits_per_weight" or "target_size_mb"
  double target_value = 0;
  double reached = 0;         // in the target's unit, of the files as written
  int64_t budget_bytes = 0;   // that the layers below could take
  int64_t stored_bytes = 0;   // that they take
  double weighted_error = 0;  // Σ error_weight · nmse
  std::vector<LayerAllocation> layers;

  bool operator==(const Allocation&) const = default;
};

}  // namespace arrow_quant
