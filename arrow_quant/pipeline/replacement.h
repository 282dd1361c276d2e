// How a finished model takes the place of what stands at the output path, and what a process that
// is killed meanwhile leaves.
//
//   .NAME.arrow_quant-new   the model while it is made; after the swap, what stood at NAME
//   .NAME.arrow_quant-old   a record of what is being replaced: removed last
#pragma once

#include <filesystem>

namespace arrow_quant {

// Where the model that will stand at `path` is made. path: absolute, without links.
std::filesystem::path replacement_path(const std::filesystem::path& path);

// Swaps `path` and its replacement, in one step where the file system can. A process that is killed
// from here on leaves a record by which finish_replacement() knows what was replaced.
// Throws: Error(Io), std::filesystem::filesystem_error.
void swap_in(const std::filesystem::path& path);

// Removes what swap_in() put aside, of this or a killed process: that, and nothing else. Where the
// process was killed half way through a swap in two steps, the old model is put back first.
// Throws: std::filesystem::filesystem_error.
void finish_replacement(const std::filesystem::path& path);

}  // namespace arrow_quant
