// measure_layers: what each width would cost a layer, and lose in it, before it is decided. A pass
// over the layers' weights that keeps no codes: memory does not grow with the model. Errors and
// bytes are those that a run at that width then reports: same chunks, same sums, same compression.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/core/progress.h"
#include "arrow_quant/io/safetensors.h"
#include "arrow_quant/pipeline/plan.h"
#include "arrow_quant/pipeline/shared_resources.h"

namespace arrow_quant {

// A layer to measure; what is pointed at must outlive the call.
struct LayerProbe {
  const PlannedTensor* tensor = nullptr;
  const SafetensorsFile* file = nullptr;
  // Measured like all wider ones; unset: the layer is only part of the digest.
  std::optional<BitWidth> narrowest;
};

struct WidthMeasure {
  BitWidth width = BitWidth::Int4;
  int64_t stored_bytes = 0;  // codes, and parameters as compressed
  double nmse = 0;           // Σ(w − ŵ)² / Σw²; 0 where every weight is 0
  double cosine = 1;
};

struct LayerMeasure {
  std::vector<WidthMeasure> widths;  // from the narrowest to 8 bits
  std::string non_finite;            // why on_nonfinite "keep" keeps the layer; then no widths
};

struct Measurement {
  std::vector<LayerMeasure> layers;  // as the probes
  std::string digest;                // of all their source bytes
};

struct MeasureContext {
  const DiffusionQuantConfig* config = nullptr;
  size_t num_threads = 1;
  Progress* progress = nullptr;
  const CancelToken* cancel = nullptr;  // may be null
  bool only_digest = false;             // nothing is measured
  SharedResources* shared = nullptr;    // may be null
};

// Throws: Error(Io), Error(NonFinite), Error(Cancelled).
Measurement measure_layers(std::span<const LayerProbe> probes, const MeasureContext& context);

// The bytes of work that measure_layers() adds to the progress.
uint64_t measured_bytes(std::span<const LayerProbe> probes, bool only_digest);

}  // namespace arrow_quant
