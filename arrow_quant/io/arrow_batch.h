// What crosses the Arrow C Data Interface: an ArrowTable that others made and the library reads in
// place, and an ArrowBatch that the library made and others read in place. Neither copies columns.
// The three structures are those of Arrow's specification, under its names.
#pragma once

#include <cstdint>
#include <memory>

struct ArrowArray;
struct ArrowArrayStream;
struct ArrowSchema;

namespace arrow_quant {

// Record batches of one schema. Holds them until it is destroyed.
class ArrowTable {
 public:
  // Takes over what `stream` points to, and reads it to its end. Throws: Error(Schema) if the
  // structures break Arrow's rules; Error(InvalidModel) with the producer's message if it fails.
  static ArrowTable from_stream(ArrowArrayStream* stream);
  // Takes over both structures: an array of structs, as one batch.
  static ArrowTable from_array(ArrowArray* array, ArrowSchema* schema);

  ArrowTable(ArrowTable&&) noexcept;
  ArrowTable& operator=(ArrowTable&&) noexcept;
  ~ArrowTable();

  int64_t num_rows() const;

  struct Impl;  // io/ alone knows what is in it
  explicit ArrowTable(std::unique_ptr<Impl> impl);
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Releases what a structure points to, and the structure.
struct DeleteArrow {
  void operator()(ArrowArray* array) const;
  void operator()(ArrowSchema* schema) const;
};

// One record batch. Copies and everything exported share its memory, and keep it.
class ArrowBatch {
 public:
  int64_t num_rows() const;

  // Fills structures that the caller allocated, who must release them.
  void export_to(ArrowArray* array, ArrowSchema* schema) const;

  // The same, allocated here.
  std::unique_ptr<ArrowArray, DeleteArrow> array() const;
  std::unique_ptr<ArrowSchema, DeleteArrow> schema() const;

  struct Impl;
  explicit ArrowBatch(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace arrow_quant
