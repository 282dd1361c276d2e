// Whether calibration data were collected from the model that is quantized.
#pragma once

#include <string>
#include <vector>

#include "arrow_quant/io/calibration_file.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

// Whether the data are of this component; data without a component's name are of any.
bool is_of_component(const CalibrationInfo& info, const ModelComponent& component);

// Warnings that name the file, a layer, and the remedy: layers that the model lacks, and another
// class than the model's config.json has. Layers may agree in name and width, and still have other
// inputs.
std::vector<std::string> signs_of_another_model(const CalibrationFile& file, const Plan& plan);

}  // namespace arrow_quant
