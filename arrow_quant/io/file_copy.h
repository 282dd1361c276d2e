// A file's bytes copied from one place to another, whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "arrow_quant/core/cancel.h"

namespace arrow_quant {

// Copies a file's bytes through an AtomicFile; `from` may be a link. Each chunk is shown to
// `on_chunk` (progress, hashes); what it throws ends the copy and leaves nothing. cancel may be
// null. Throws: Error(Io), Error(Cancelled).
void copy_file_durably(const std::filesystem::path& from, const std::filesystem::path& to,
                       const std::function<void(std::span<const uint8_t>)>& on_chunk = {},
                       const CancelToken* cancel = nullptr);

}  // namespace arrow_quant
