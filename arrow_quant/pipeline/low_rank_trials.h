// LowRankTrials: low ranks that make up for what quantizing a tensor costs, tried on one treatment
// after the other. A candidate takes three passes: the error of all rows is collected, the low rank
// is fitted to it, and its outputs are compared on held-out rows.
//
// Candidates are a treatment that passes no errors on; one that does; and that one with the low
// rank foreseen: errors are passed on as if those that the first candidate's low rank takes away
// cost nothing (freed_squares()). Passing errors on spreads them over all directions, so that a low
// rank finds little to take; foreseen, it takes the directions in which inputs are strongest.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/pipeline/chunk.h"
#include "arrow_quant/pipeline/layer_views.h"
#include "arrow_quant/quant/low_rank.h"

namespace arrow_quant {

class LowRankTrials {
 public:
  enum class Pass {
    Collect,  // the error of each chunk's rows
    Fit,      // one chunk without rows
    Weigh,    // the outputs of each chunk's rows
  };
  // What is known of a candidate once it was tried.
  struct Outcome {
    NamedTreatment treatment;  // its name with the low rank
    std::shared_ptr<const LowRank> low_rank;
    std::shared_ptr<const InputView> view;  // what the treatment points to, where it is its own
    std::vector<OutputError> errors;        // of each chunk
    OutputError total;
  };

  // The treatments point into `views`; compensated: unset: none passes errors on. rank: 1 … 64.
  // cancel may be null; it must outlive the object.
  LowRankTrials(std::shared_ptr<const LayerViews> views, const NamedTreatment& plain,
                const std::optional<NamedTreatment>& compensated, MatrixShape shape, size_t rank,
                const CancelToken* cancel);

  // The memory for the error, rows · cols floats; before the first pass.
  void allocate();
  Pass pass() const { return pass_; }
  void begin_pass(size_t num_chunks);
  // Different chunks may be processed at once. rows: of the source.
  void process(size_t index, const Chunk& chunk, const RowsView& rows, const QuantizeSpec& spec,
               float tensor_scale, TrialScratch& scratch);
  // After all chunks of a pass. False if it was the last.
  bool next_pass();

  // After the last pass: those candidates for which there was a low rank, in their order.
  std::vector<Outcome>& outcomes() { return outcomes_; }

 private:
  void fit();
  void foresee();

  std::shared_ptr<const LayerViews> views_;
  std::vector<NamedTreatment> candidates_;
  std::shared_ptr<const InputView> freed_;  // of the last candidate, once its low rank is known
  MatrixShape shape_;
  size_t rank_;
  const CancelToken* cancel_;
  size_t candidate_ = 0;
  Pass pass_ = Pass::Collect;
  Buffer error_;               // float32 [rows, cols]
  LowRank low_rank_;           // of the candidate
  std::vector<float> inputs_;  // x / s · Vᵀ of held-out rows
  std::vector<OutputError> output_errors_;
  std::vector<Outcome> outcomes_;
};

// What a low rank must leave of the error at most: more is saved by it than chance gives on a
// sample of rows. On the example models that bought 12 and 23 % of the error of predictions at 2
// bits for 0.2 bits per weight, where groups half as large bought 3 and 11 % for 0.3 to 0.4; at 4
// bits 7 and 12 % for 0.16, where smaller groups bought 17 and 19 % for 0.12 to 0.2. To ask for 3
// dB for each bit lost most of it: predictions gain more by a layer than its held-out rows tell.
inline constexpr double kLowRankGate = 0.9;

}  // namespace arrow_quant
