// A quantized model and its tensors. Buffers are handed over, never copied: an array's owner is a
// capsule that holds the C++ buffer.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/dtype.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_checks.h"
#include "arrow_quant/io/time_groups.h"
#include "arrow_quant/pipeline/quantized_model.h"
#include "bindings.h"
#include "errors.h"

namespace arrow_quant::python {
namespace {

namespace nb = nanobind;
using nb::literals::operator""_a;
using nb::dlpack::dtype_code;
using Shape = std::vector<size_t>;

constexpr nb::dlpack::dtype element(dtype_code code, int bits) {
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(bits), 1};
}
constexpr nb::dlpack::dtype kByte = element(dtype_code::UInt, 8);

// Types that arrays do not have come as their bytes.
nb::dlpack::dtype element_of(DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return element(dtype_code::Bool, 8);
    case DType::I8:
    case DType::I16:
    case DType::I32:
    case DType::I64:
      return element(dtype_code::Int, bits_of(dtype));
    case DType::U8:
    case DType::U16:
    case DType::U32:
    case DType::U64:
      return element(dtype_code::UInt, bits_of(dtype));
    case DType::F16:
    case DType::F32:
    case DType::F64:
      return element(dtype_code::Float, bits_of(dtype));
    case DType::BF16:
      return element(dtype_code::Bfloat, 16);
    case DType::C64:
      return element(dtype_code::Complex, 64);
    case DType::F4:
    case DType::F6_E2M3:
    case DType::F6_E3M2:
    case DType::F8_E5M2:
    case DType::F8_E4M3:
    case DType::F8_E8M0:
    case DType::F8_E4M3FNUZ:
    case DType::F8_E5M2FNUZ:
      break;
  }
  return kByte;
}

// An array over `data`, which lies in `buffer`; the array owns the buffer.
template <class Framework>
nb::object own(Buffer buffer, void* data, const Shape& shape, nb::dlpack::dtype dtype) {
  auto* const kept = new Buffer(std::move(buffer));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<Buffer*>(p); });
  return nb::ndarray<Framework>(data, shape.size(), shape.data(), owner, nullptr, dtype,
                                nb::device::cpu::value)
      .cast();
}

const LayerReport& report(const QuantizedModel& model, int64_t index) {
  if (index < 0 || static_cast<size_t>(index) >= model.tensors().size()) {
    throw nb::index_error("there is no tensor of that index");
  }
  return model.tensors()[static_cast<size_t>(index)];
}

std::vector<std::string> keys(const QuantizedModel& model) {
  std::vector<std::string> names;
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    names.push_back(model.name_of(static_cast<int64_t>(i)));
  }
  return names;
}

DType named_dtype(const std::string& name) {
  const auto dtype = parse_dtype(name);
  if (!dtype) {
    throw nb::value_error(("unknown dtype " + name).c_str());
  }
  return *dtype;
}

nb::object dequantize(const QuantizedModel& model, int64_t index, const std::string& dtype_name,
                      bool as_torch) {
  const LayerReport& tensor = report(model, index);
  const DType dtype = named_dtype(dtype_name);
  Buffer buffer;
  {
    const nb::gil_scoped_release released;
    buffer = model.dequantize(index, dtype);
  }
  Shape shape(tensor.shape.begin(), tensor.shape.end());
  if (bits_of(dtype) < 8) {
    shape = {buffer.size_bytes()};
  }
  void* const data = buffer.data();
  return as_torch ? own<nb::pytorch>(std::move(buffer), data, shape, element_of(dtype))
                  : own<nb::numpy>(std::move(buffer), data, shape, element_of(dtype));
}

std::vector<QuantizedBlock> read_blocks(const QuantizedModel& model, int64_t index) {
  const LayerReport& tensor = report(model, index);
  if (tensor.quant_type == "none") {
    throw Error(ErrorCode::Unsupported,
                "tensor '" + tensor.name + "' was kept and has no codes: use dequantize()");
  }
  const nb::gil_scoped_release released;
  std::vector<QuantizedBlock> blocks;
  for (size_t i = 0; i < model.num_blocks(index); ++i) {
    blocks.push_back(model.read_block(index, i));
  }
  return blocks;
}

// Takes the block's codes: [rows, bytes of a packed row].
nb::object codes_array(QuantizedBlock& block) {
  const Shape shape = {codes_view(block).rows, codes_view(block).codes_stride_bytes};
  const auto dtype = block.header.bit_width == 8 ? element(dtype_code::Int, 8) : kByte;
  void* const codes = block.codes();
  return own<nb::numpy>(std::move(block.data), codes, shape, dtype);
}

// Takes the block's scales or offsets: fp16 [rows, groups of a row]; no columns where there are
// none.
nb::object params_array(const QuantizedBlock& block, Buffer& params) {
  const Shape shape = {codes_view(block).rows,
                       params.empty() ? 0 : codes_view(block).params_stride};
  void* const data = params.data();
  return own<nb::numpy>(std::move(params), data, shape, element(dtype_code::Float, 16));
}

// One array per block.
nb::list read_codes(const QuantizedModel& model, int64_t index) {
  nb::list arrays;
  for (QuantizedBlock& block : read_blocks(model, index)) {
    arrays.append(codes_array(block));
  }
  return arrays;
}

nb::list read_params(const QuantizedModel& model, int64_t index, Buffer QuantizedBlock::*field) {
  nb::list arrays;
  for (QuantizedBlock& block : read_blocks(model, index)) {
    arrays.append(params_array(block, block.*field));
  }
  return arrays;
}

// One tuple per block: codes, scales, offsets and tensor_scale, from a single read of the file.
nb::list read_packed(const QuantizedModel& model, int64_t index) {
  nb::list blocks;
  for (QuantizedBlock& block : read_blocks(model, index)) {
    const nb::object scales = params_array(block, block.scales);
    const nb::object offsets = params_array(block, block.offsets);
    blocks.append(nb::make_tuple(codes_array(block), scales, offsets, block.header.tensor_scale));
  }
  return blocks;
}

// An array of `count` values that are copied from `values`.
template <class T>
nb::object copied(const T* values, const Shape& shape, nb::dlpack::dtype dtype) {
  size_t count = 1;
  for (const size_t size : shape) count *= size;
  Buffer buffer(count * sizeof(T));
  if (count > 0) std::memcpy(buffer.data(), values, count * sizeof(T));
  void* const data = buffer.data();
  return own<nb::numpy>(std::move(buffer), data, shape, dtype);
}

nb::object floats(const std::vector<float>& values) {
  return copied(values.data(), {values.size()}, element(dtype_code::Float, 32));
}

// bf16 values as a float32 matrix.
nb::object widened(const std::vector<uint16_t>& values, size_t rows, size_t cols) {
  Buffer buffer(values.size() * sizeof(float));
  float* const data = buffer.as<float>().data();
  widen_to_f32(values.data(), DType::BF16, values.size(), data);
  return own<nb::numpy>(std::move(buffer), data, {rows, cols}, element(dtype_code::Float, 32));
}

nb::object activation_field(const BlockExtras& extras, float ActivationRange::*field) {
  std::vector<float> values;
  for (const ActivationRange& range : extras.act) values.push_back(range.*field);
  return floats(values);
}

// (input_scale [cols], U [rows, rank], V [rank, cols], bias corrections [groups, rows],
// clip [groups], scale [groups], zero_point [groups]); what a tensor lacks has size 0.
nb::tuple read_extras(const QuantizedModel& model, int64_t index) {
  const LayerReport& tensor = report(model, index);
  BlockExtras extras;
  if (tensor.quant_type != "none") {
    const nb::gil_scoped_release released;
    extras = model.extras(index);
  }
  const MatrixView view = *matrix_view(tensor.shape);
  const auto rows = static_cast<size_t>(view.rows);
  const auto cols = static_cast<size_t>(view.cols);
  const auto rank = static_cast<size_t>(extras.rank);
  return nb::make_tuple(
      floats(extras.input_scale), widened(extras.low_rank_u, rank == 0 ? 0 : rows, rank),
      widened(extras.low_rank_v, rank, rank == 0 ? 0 : cols),
      copied(extras.bias_corrections.data(), {static_cast<size_t>(extras.bias_groups), rows},
             element(dtype_code::Float, 16)),
      activation_field(extras, &ActivationRange::clip),
      activation_field(extras, &ActivationRange::scale),
      activation_field(extras, &ActivationRange::zero_point));
}

nb::object time_groups(const QuantizedModel& model, const std::string& component) {
  const TimeGroups* const groups = model.time_groups(component);
  return groups == nullptr ? nb::none() : to_str(to_json(*groups));
}

void bind_report(nb::module_& module) {
  nb::class_<LayerReport>(module, "LayerReport", "What is recorded of one tensor.")
      .def_ro("name", &LayerReport::name)
      .def_ro("component", &LayerReport::component)
      .def_ro("shape", &LayerReport::shape)
      .def_ro("dtype", &LayerReport::dtype)
      .def_ro("quant_type", &LayerReport::quant_type)
      .def_ro("bit_width", &LayerReport::bit_width)
      .def_ro("group_size", &LayerReport::group_size)
      .def_ro("num_params", &LayerReport::num_params)
      .def_ro("source_bytes", &LayerReport::source_bytes)
      .def_ro("stored_bytes", &LayerReport::stored_bytes)
      .def_ro("cosine_similarity", &LayerReport::cosine_similarity)
      .def_ro("sqnr_db", &LayerReport::sqnr_db)
      .def_ro("max_abs_error", &LayerReport::max_abs_error)
      .def_ro("output_sqnr_db", &LayerReport::output_sqnr_db)
      .def_ro("reason", &LayerReport::reason)
      .def_prop_ro("transforms", [](const LayerReport& report) { return report.extras.transforms; })
      .def_prop_ro("hadamard_block",
                   [](const LayerReport& report) { return report.extras.hadamard_block; })
      .def_prop_ro("rank", [](const LayerReport& report) { return report.extras.rank; })
      .def_prop_ro("bias_groups",
                   [](const LayerReport& report) { return report.extras.bias_groups; })
      .def_prop_ro("act_bits", [](const LayerReport& report) { return report.extras.act_bits; })
      .def_prop_ro("act_mode", [](const LayerReport& report) { return report.extras.act_mode; });
}

}  // namespace

void bind_tensors(nb::module_& module) {
  bind_report(module);
  nb::class_<QuantizedModel>(module, "QuantizedModel", "A finished output directory.")
      .def_static("open", &QuantizedModel::open, "path"_a, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("manifest_json",
                   [](const QuantizedModel& model) { return to_str(model.manifest_json()); })
      .def("keys", keys)
      .def("report", report, "index"_a, nb::rv_policy::reference_internal)
      .def("dequantize", dequantize, "index"_a, "dtype"_a, "as_torch"_a)
      .def("read_packed", read_packed, "index"_a)
      .def("read_extras", read_extras, "index"_a)
      .def("time_groups", time_groups, "component"_a)
      .def("read_codes", read_codes, "index"_a)
      .def(
          "read_scales",
          [](const QuantizedModel& model, int64_t index) {
            return read_params(model, index, &QuantizedBlock::scales);
          },
          "index"_a)
      .def(
          "read_offsets",
          [](const QuantizedModel& model, int64_t index) {
            return read_params(model, index, &QuantizedBlock::offsets);
          },
          "index"_a);
}

}  // namespace arrow_quant::python
