// Large buffers that are made again and again, as the results of calls are: what is given back is
// kept for the next, since new pages cost as much as quantizing into them.
#pragma once

#include <cstddef>

#include "arrow_quant/core/buffer.h"

namespace arrow_quant {

// Uninitialized: one that was given back if its size is close, else a new one.
// Throws: std::bad_alloc.
Buffer take_buffer(size_t size_bytes);

// Keeps a large buffer. All that are kept have no more than 512 MiB and a sixteenth of the
// machine's memory: the oldest goes first. Any thread may call it.
void give_back(Buffer buffer) noexcept;

// What is kept now, in bytes.
size_t kept_bytes();

}  // namespace arrow_quant
