// Choosing how a layer's inputs are quantized in each group of timesteps, from sampled rows. Every
// step on the way beyond what needs no data is kept only where held-out rows confirm it, and
// reported with what they cost before and after.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "arrow_quant/diffusion/boundary_smoothing.h"
#include "arrow_quant/diffusion/markov.h"
#include "arrow_quant/diffusion/thermodynamic.h"
#include "arrow_quant/io/layer_report.h"
#include "arrow_quant/pipeline/activation_estimate.h"

namespace arrow_quant {

// How a component's steps are grouped, and how parameters go over from group to group.
struct ActivationTime {
  std::span<const size_t> begins;       // the first step of each group; [0] = 0
  std::span<const double> couplings;    // of neighbouring groups, in (0, 1]
  std::span<const StepBlend> jumping;   // of each step, where parameters jump
  std::span<const StepBlend> smoothed;  // where they are interpolated; empty: not asked for
  bool smooth = false;                  // whether the component's parameters are interpolated
};

struct ActivationTask {
  ActivationScheme scheme;
  // Whether clip ratios are searched: not where that is off, and not where inputs are rotated,
  // which spreads outliers, so that clipping costs more than it saves.
  bool may_clip = true;
  // Rows as the quantizer sees them: transformed where the layer has a transform.
  const ActivationRows* calibrating = nullptr;
  const ActivationRows* held_out = nullptr;
  const WeightSketch* sketch = nullptr;  // of the weights that they meet
  // What all calibrating inputs of each step lie between; empty: what the rows do.
  std::span<const ValueRange> step_ranges;
  ActivationTime time;
  const ThermodynamicConfig* phases = nullptr;
};

struct ActivationChoice {
  std::vector<ActivationRange> act;  // of each group, or one where all are the same
  // In the order in which they were tried: "clip" or "static range", "ranges of groups", "boundary
  // smoothing", "markov smoother", "transition optimization". Errors are those of the outputs on
  // held-out rows that quantizing the inputs makes; see ActivationCost.
  std::vector<StepReport> steps;
  std::optional<MarkovDiagnosis> diagnosis;  // where phase 1 is on
};

// Dynamic: a clip ratio for each group, at 4 bits where one is searched, kept where the held-out
// error falls by at least a tenth. Static, 4 bits: of 121 ranges the one that costs least at
// all times, then the one that costs each group least, if held-out rows gain by them; 8 bits: each
// group's range times the margin of 1, 1.15 and 1.3 that costs held-out rows least, since the
// extremes of a sample fall short of those to come. Then, where phases are on, on parameters that
// were searched or are static: the Markov smoother if a group has less than 64 rows, and transition
// optimization on at most 32 rows a group, each kept where the held-out error falls as far as
// phase_gate() asks. Transition optimization picks on one half of the held-out rows, is judged on
// the other, and must save a tenth. Pre: the rows have as many steps as the blends; at least one
// calibrating row.
ActivationChoice choose_activation(const ActivationTask& task);

// Parameters as a runtime has them at each step: those of the groups, rounded as they are stored,
// and interpolated by the blends. Ranges hold 0.
ActivationParameters deployed(const ActivationScheme& scheme, const ActivationParameters& groups,
                              std::span<const StepBlend> blends);

}  // namespace arrow_quant
