// Plan: what a run will do, told from headers and options alone. The same headers and options give
// the same plan on any machine, so parts can be made in any order and again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrow_quant/config/config.h"
#include "arrow_quant/diffusion/layer_rules.h"
#include "arrow_quant/diffusion/modality.h"
#include "arrow_quant/io/model_dir.h"

namespace arrow_quant {

inline constexpr uint64_t kMaxBlockBytes = uint64_t{64} << 20;

// Whole rows of a tensor's view.
struct BlockRange {
  int64_t row_start = 0;
  int64_t row_count = 0;
};

struct PlannedTensor {
  size_t shard = 0;                  // index into the component's shards
  const TensorInfo* info = nullptr;  // lives in the ModelDir
  MatrixShape view;
  LayerDecision decision;
};

// The tensors of one part file, in file order.
struct PlannedPart {
  size_t first_tensor = 0;  // index into the component's tensors
  size_t num_tensors = 0;
  std::string file_name;  // "quantized-00001-of-00004.parquet"
};

struct PlannedComponent {
  const ModelComponent* source = nullptr;
  std::vector<PlannedTensor> tensors;
  std::vector<PlannedPart> parts;
};

struct Plan {
  ModalityGuess modality;
  std::vector<PlannedComponent> components;
  std::vector<std::string> warnings;
  uint64_t source_bytes = 0;  // of all tensors
};

// Which of a model's components and files the config asks for.
ModelDirOptions model_dir_options(const DiffusionQuantConfig& config);

// The model must outlive the plan. Throws: Error(Configuration) for patterns that do not compile;
// Error(ModelNotFound) if the components hold no tensor.
Plan make_plan(const ModelDir& model, const DiffusionQuantConfig& config);

// Cuts a component's tensors into parts where one could pass its size, by their decisions and the
// most that calibration may add to them.
void assign_parts(PlannedComponent& component, const DiffusionQuantConfig& config);

// Whether bits are shared out under a target: the plan then has the fewest bits that each layer may
// get, until allocate_bits() decides.
bool has_target(const DiffusionQuantConfig& config);

// The blocks that the tensor is cut into at `width`, or kept: at most kMaxBlockBytes of codes, of
// parameters and of kept bytes each, and at least one row.
std::vector<BlockRange> blocks_of(const PlannedTensor& tensor, std::optional<BitWidth> width,
                                  int64_t group_size);

// Bytes of codes and parameters that a tensor takes at `width`.
int64_t planned_bytes(const PlannedTensor& tensor, std::optional<BitWidth> width,
                      int64_t group_size);

// The rank of the low rank that the tensor gets at most, by options and shape alone; 0: none.
size_t largest_rank(const PlannedTensor& tensor, const DiffusionQuantConfig& config);

// The bits of a layer's input when it runs, if its ranges are known or taken from each row; 0: it
// stays as it is.
int activation_bits_of(const PlannedTensor& tensor, const DiffusionQuantConfig& config);

}  // namespace arrow_quant
