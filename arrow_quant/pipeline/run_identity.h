// What a run is: the manifest as far as it is known before the first weight is read, and whether
// something that stands at the output is of the same run.
#pragma once

#include <filesystem>
#include <string>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/model_dir.h"
#include "arrow_quant/pipeline/plan.h"

namespace arrow_quant {

Manifest begin_manifest(const ModelDir& model, const Plan& plan,
                        const DiffusionQuantConfig& config);

// Of all that decides the output's bytes but the weights themselves: of a manifest as it begins,
// and of the plan before bits are shared out.
std::string fingerprint_of(const Manifest& manifest, const Plan& plan);

// A finished model of ours stands at the output: does it hold what this run would make?
// Returns why not, in words; empty if it does. wanted: the manifest of this run as it begins.
// cancel may be null. Throws: Error(Io), Error(Cancelled).
std::string why_not_up_to_date(const Manifest& finished, const Manifest& wanted,
                               const ModelDir& model, const std::filesystem::path& output,
                               const CancelToken* cancel);

}  // namespace arrow_quant
