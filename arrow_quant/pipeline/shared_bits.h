// shared_bits: the bits of all layers under a target, measured, or taken from the journal of an
// unfinished run.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "arrow_quant/io/manifest.h"
#include "arrow_quant/pipeline/allocate_bits.h"

namespace arrow_quant {

struct SharedBits {
  RecordedAllocation record;
  bool recorded = false;  // it was in the journal, and the source is still the same
};

// Decides the plan. recorded: of a journal, if there is one; it stands if the layers' bytes have
// the same digest (a pass at reading speed), else everything is measured.
// Throws: what measure_layers() and allocate_bits() throw.
SharedBits share_bits(Plan& plan, size_t metadata_bytes,
                      const std::optional<RecordedAllocation>& recorded,
                      const MeasureContext& context);

// The bytes of work that share_bits() adds to the progress if its source did not change.
uint64_t sharing_bytes(const Plan& plan, bool recorded);

// What the target has come to, in its unit, from the records of what was written.
double reached(const Allocation& allocation, const std::vector<ComponentRecord>& components);

}  // namespace arrow_quant
