// The files of a model that are not its quantized weights: which of them the output carries over,
// and which not, with the reason.
#pragma once

#include <filesystem>
#include <vector>

#include "arrow_quant/io/model_dir.h"

namespace arrow_quant {

// A file in which some framework stores weights, by its name: pickles, other formats, indexes.
bool is_weights_file(const std::filesystem::path& path);

// Fills model.copied and model.skipped, both sorted, from the tree below model.root, and warns of
// what should be copied and cannot be. Links to files are followed anywhere; links to directories
// within the model, and, where they are components of a pipeline, to directories elsewhere.
// Pre: model.components and model.entries are final. Throws: Error(Io).
void list_carried_files(ModelDir& model);

}  // namespace arrow_quant
