// revise_model: a finished quantized model with other bias corrections, activation parameters or
// groups of timesteps. Codes, scales and transforms stay as they are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/block_extras.h"
#include "arrow_quant/io/time_groups.h"

namespace arrow_quant {

// What is added to a layer's bias.
struct BiasTable {
  int32_t groups = 0;            // of timesteps, or 1 for all; 0 removes what is there
  std::vector<uint16_t> values;  // fp16 [groups, rows], finite
};

// How a layer's input is quantized.
struct ActivationTable {
  int bits = 0;  // 4, 8; 0 removes what is there
  ActMode mode = ActMode::None;
  std::vector<ActivationRange> ranges;  // one per group of timesteps, or one for all
};

// Tensors are named as in the component. What is not named stays.
struct Revision {
  std::string component;  // "" for the one of a model that has one
  // Set: takes the place of the component's groups; none of them where the inner one is unset.
  std::optional<std::optional<TimeGroups>> time_groups;
  std::map<std::string, BiasTable> bias_corrections;
  std::map<std::string, ActivationTable> activations;
};

// Writes the model at `model`, revised, to `out`, which is absent or an empty directory; where it
// is `model` itself, the revised model is written beside it and takes its place in one step, so
// that at any moment one of the two stands there whole. Manifest and hashes follow. Throws:
// Error(Configuration) for a component or tensor that is not there or was kept, and for values that
// are not allowed; Error(ShapeMismatch) for tables of another size; Error(OutputExists); what
// QuantizedModel::open throws; Error(Io), Error(Cancelled). Then nothing has changed. cancel may be
// null.
void revise_model(const std::filesystem::path& model, const Revision& revision,
                  const std::filesystem::path& out, const CancelToken* cancel = nullptr);

}  // namespace arrow_quant
