// The activation parameters of one layer of a run: its calibration data and weights go to
// choose_activation() as the layer's treatment transforms them.
#pragma once

#include <optional>

#include "arrow_quant/pipeline/time_grouping.h"
#include "arrow_quant/quant/input_transform.h"

namespace arrow_quant {

// Of the component that is quantized. All must outlive what uses it.
struct ActivationSource {
  const PlannedComponent* component = nullptr;
  const ComponentTime* time = nullptr;
  const CalibrationFile* calibration = nullptr;
  const CancelToken* cancel = nullptr;  // may be null
};

// transform: what the layer's treatment does to its inputs; null: nothing. Unset where no
// calibrating row is left. Reads the layer's calibration data, and some rows of its weight. Pre:
// the layer is covered by the calibration; the config asks for activation_bits. Throws as
// CalibrationFile::read does; Error(Io), Error(Cancelled).
std::optional<ActivationChoice> choose_layer_activation(const PlannedTensor& tensor,
                                                        const InputTransform* transform,
                                                        const DiffusionQuantConfig& config,
                                                        const ActivationSource& source);

}  // namespace arrow_quant
