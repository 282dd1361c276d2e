// Batches in memory. Tables come and go through the Arrow C Data Interface alone, as PyCapsules, so
// that any library's tables serve and nothing of pyarrow is linked.
#include <nanobind/nanobind.h>

#include <memory>
#include <optional>
#include <utility>

#include "arrow_quant/io/arrow_batch.h"
#include "arrow_quant/pipeline/quantize_batch.h"
#include "bindings.h"
#include "interruptible.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;

template <class Structure>
Structure* in_capsule(nb::handle capsule, const char* name) {
  void* const pointer = PyCapsule_GetPointer(capsule.ptr(), name);
  if (pointer == nullptr) {
    throw nb::python_error();
  }
  return static_cast<Structure*>(pointer);
}

// A table that Python still owns. take() moves what the capsules hold; they stay as empty shells.
class GivenTable {
 public:
  explicit GivenTable(nb::handle table) {
    if (nb::hasattr(table, "__arrow_c_stream__")) {
      stream_ = table.attr("__arrow_c_stream__")();
    } else if (nb::hasattr(table, "__arrow_c_array__")) {
      const auto pair = nb::cast<nb::tuple>(table.attr("__arrow_c_array__")());
      schema_ = pair[0];
      array_ = pair[1];
    } else {
      throw nb::type_error(
          "the table must have __arrow_c_stream__ or __arrow_c_array__, as those of pyarrow, "
          "polars, duckdb and nanoarrow do");
    }
    if (stream_.is_valid()) {
      stream_pointer_ = in_capsule<ArrowArrayStream>(stream_, "arrow_array_stream");
    } else {
      schema_pointer_ = in_capsule<ArrowSchema>(schema_, "arrow_schema");
      array_pointer_ = in_capsule<ArrowArray>(array_, "arrow_array");
    }
  }

  // Needs no GIL: producers that run Python take it themselves.
  ArrowTable take() const {
    return stream_pointer_ != nullptr ? ArrowTable::from_stream(stream_pointer_)
                                      : ArrowTable::from_array(array_pointer_, schema_pointer_);
  }

 private:
  nb::object stream_, schema_, array_;
  ArrowArrayStream* stream_pointer_ = nullptr;
  ArrowSchema* schema_pointer_ = nullptr;
  ArrowArray* array_pointer_ = nullptr;
};

template <class Structure>
nb::object to_capsule(std::unique_ptr<Structure, DeleteArrow> structure, const char* name) {
  const auto destroy = [](PyObject* capsule) {
    const char* const held = PyCapsule_GetName(capsule);
    DeleteArrow()(static_cast<Structure*>(PyCapsule_GetPointer(capsule, held)));
  };
  nb::object capsule = nb::steal(PyCapsule_New(structure.get(), name, destroy));
  if (!capsule.is_valid()) {
    throw nb::python_error();
  }
  structure.release();
  return capsule;
}

// As the Arrow PyCapsule Interface has it: a wish for another schema need not be granted.
nb::object arrow_c_array(const ArrowBatch& batch, nb::handle) {
  return nb::make_tuple(to_capsule(batch.schema(), "arrow_schema"),
                        to_capsule(batch.array(), "arrow_array"));
}

// Runs `make` without the GIL, where signals can stop it.
template <class Make>
ArrowBatch run(Make make) {
  std::optional<ArrowBatch> result;
  run_interruptible({}, [&](const RunHooks& hooks) { result = make(hooks.cancel); });
  return *std::move(result);
}

ArrowBatch quantize(nb::handle table, const DiffusionQuantConfig& config, bool continue_on_error) {
  const DiffusionQuantConfig copy = config;  // another thread may change it meanwhile
  const GivenTable given(table);
  return run([&](const CancelToken* cancel) {
    return quantize_batch_arrow(given.take(), copy, {continue_on_error, cancel});
  });
}

ArrowBatch dequantize(nb::handle batch, int64_t num_threads) {
  const GivenTable given(batch);
  return run([&](const CancelToken* cancel) {
    return dequantize_batch_arrow(given.take(), num_threads, cancel);
  });
}

}  // namespace

void bind_arrow(nb::module_& module) {
  nb::class_<ArrowBatch>(module, "ArrowBatch",
                         "A record batch for any library that takes the Arrow C Data Interface.")
      .def("__len__", &ArrowBatch::num_rows)
      .def("__arrow_c_array__", arrow_c_array, "requested_schema"_a = nb::none(),
           nb::sig("def __arrow_c_array__(self, requested_schema: object | None = None) "
                   "-> tuple[object, object]"),
           "The batch as two capsules, of its schema and of its columns.");
  module.def("quantize_batch_arrow", quantize, "table"_a.none(), "config"_a, "continue_on_error"_a,
             nb::sig("def quantize_batch_arrow(table: object, config: DiffusionQuantConfig, "
                     "continue_on_error: bool) -> ArrowBatch"),
             "Quantizes the layers in a table.");
  module.def("dequantize_batch_arrow", dequantize, "batch"_a.none(), "num_threads"_a,
             nb::sig("def dequantize_batch_arrow(batch: object, num_threads: int) -> ArrowBatch"),
             "The weights of what quantize_batch_arrow made.");
}

}  // namespace arrow_quant::python
