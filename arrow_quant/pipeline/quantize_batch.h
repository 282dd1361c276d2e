// Layers in memory, many in one call: weights in an Arrow table to codes in an Arrow batch, and
// back. No file, no layer rules, no fallback: every row gets the configured bits. Of the config,
// bit_width, group_size, method, error_norm and num_threads have an effect here.
#pragma once

#include <cstdint>
#include <span>

#include "arrow_quant/config/config.h"
#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/arrow_batch.h"
#include "arrow_quant/io/coded_batch.h"

namespace arrow_quant {

struct BatchOptions {
  // false: the first row that is not well-formed is thrown, before any work; else the first with a
  // weight that is not finite. true: bad rows come back null, and a column "error" says why (null
  // where a row is fine).
  bool continue_on_error = false;
  const CancelToken* cancel = nullptr;  // outlives the call
};

// Quantizes the rows of a table with the columns layer_name, weights (any kind of list of float32,
// read in place; of float64 or float16) and optionally shape. The columns of the result stand in
// coded_batch.h. Identical bytes for any number of threads and any division into batches.
// Throws: Error(Schema); Error(InvalidRow), Error(ShapeMismatch) naming column, row and value;
// Error(Cancelled); what DiffusionQuantConfig::validate() throws.
ArrowBatch quantize_batch_arrow(ArrowTable table, const DiffusionQuantConfig& config = {},
                                const BatchOptions& options = {});

// The same for rows without a table. Rows whose `error` is set are treated like other bad rows.
CodedBatch quantize_batch(std::span<const WeightRow> rows, const DiffusionQuantConfig& config = {},
                          const BatchOptions& options = {});

// The weights of what quantize_batch_arrow made: layer_name, weights (list<float32>), shape. Null
// rows stay null. num_threads: 0 means all that the process may use.
// Throws: Error(Schema); Error(InvalidRow), Error(ShapeMismatch) naming column, row and value;
// Error(Unsupported) for another packing; Error(Cancelled).
ArrowBatch dequantize_batch_arrow(ArrowTable batch, int64_t num_threads = 0,
                                  const CancelToken* cancel = nullptr);

}  // namespace arrow_quant
