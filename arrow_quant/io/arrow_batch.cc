#include "arrow_quant/io/arrow_batch.h"

#include <arrow/c/bridge.h>

#include <utility>

#include "arrow_quant/io/arrow_columns.h"

namespace arrow_quant {
namespace {

Error not_a_table(const arrow::Status& status) {
  return Error(ErrorCode::Schema,
               "cannot take over the Arrow data: " + status.message() +
                   "; give a table, a record batch, or a stream of record batches");
}

}  // namespace

ArrowTable ArrowTable::from_stream(ArrowArrayStream* stream) {
  auto reader = arrow::ImportRecordBatchReader(stream);
  if (!reader.ok()) {
    throw not_a_table(reader.status());
  }
  auto impl = std::make_unique<Impl>();
  impl->schema = (*reader)->schema();
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    if (const arrow::Status status = (*reader)->ReadNext(&batch); !status.ok()) {
      throw Error(ErrorCode::InvalidModel, "the Arrow stream failed: " + status.message());
    }
    if (batch == nullptr) {
      return ArrowTable(std::move(impl));
    }
    impl->batches.push_back(std::move(batch));
  }
}

ArrowTable ArrowTable::from_array(ArrowArray* array, ArrowSchema* schema) {
  auto batch = arrow::ImportRecordBatch(array, schema);
  if (!batch.ok()) {
    throw not_a_table(batch.status());
  }
  auto impl = std::make_unique<Impl>();
  impl->schema = (*batch)->schema();
  impl->batches.push_back(*std::move(batch));
  return ArrowTable(std::move(impl));
}

ArrowTable::ArrowTable(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ArrowTable::ArrowTable(ArrowTable&&) noexcept = default;
ArrowTable& ArrowTable::operator=(ArrowTable&&) noexcept = default;
ArrowTable::~ArrowTable() = default;

int64_t ArrowTable::num_rows() const {
  int64_t rows = 0;
  for (const auto& batch : impl_->batches) {
    rows += batch->num_rows();
  }
  return rows;
}

void DeleteArrow::operator()(ArrowArray* array) const {
  if (array->release != nullptr) {
    array->release(array);
  }
  delete array;
}

void DeleteArrow::operator()(ArrowSchema* schema) const {
  if (schema->release != nullptr) {
    schema->release(schema);
  }
  delete schema;
}

int64_t ArrowBatch::num_rows() const {
  return impl_->batch->num_rows();
}

void ArrowBatch::export_to(ArrowArray* array, ArrowSchema* schema) const {
  check_built(arrow::ExportRecordBatch(*impl_->batch, array, schema));
}

std::unique_ptr<ArrowArray, DeleteArrow> ArrowBatch::array() const {
  std::unique_ptr<ArrowArray, DeleteArrow> array(new ArrowArray{});
  check_built(arrow::ExportRecordBatch(*impl_->batch, array.get()));
  return array;
}

std::unique_ptr<ArrowSchema, DeleteArrow> ArrowBatch::schema() const {
  std::unique_ptr<ArrowSchema, DeleteArrow> schema(new ArrowSchema{});
  check_built(arrow::ExportSchema(*impl_->batch->schema(), schema.get()));
  return schema;
}

}  // namespace arrow_quant
