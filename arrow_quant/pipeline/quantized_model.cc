#include "arrow_quant/pipeline/quantized_model.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/block_extras.h"
#include "arrow_quant/io/manifest.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/part_reader.h"
#include "arrow_quant/pipeline/output_dir.h"
#include "arrow_quant/quant/quantize.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

// Where one tensor's blocks are.
struct Place {
  size_t reader = 0;
  std::vector<size_t> blocks;  // indices into the reader's blocks, in order
};

// What a tensor is called when several components are open: its name, unless another has it too.
std::string qualified_name(const LayerReport& tensor) {
  return tensor.component.empty() ? tensor.name : tensor.component + "/" + tensor.name;
}

// A part that another tool rewrote may have lost its metadata.
void check_time_groups(const std::map<std::string, std::string>& metadata,
                       const ComponentRecord& component, const fs::path& file) {
  const auto entry = metadata.find(std::string(kTimeGroupsKey));
  if (entry != metadata.end() &&
      parse_time_groups(entry->second, file.string()) != component.time_groups) {
    throw Error(ErrorCode::Metadata, file.string() +
                                         " has other time groups than the manifest: copy the whole "
                                         "directory again");
  }
}

}  // namespace

struct QuantizedModel::Impl {
  fs::path path;
  std::string manifest_text;
  Manifest manifest;
  std::vector<PartReader> readers;
  std::vector<LayerReport> tensors;
  std::vector<Place> places;  // of each of tensors
  std::unordered_map<std::string, int64_t> index;

  void open_parts();
  void add_part(const PartRecord& part, const ComponentRecord& component);
  void check(const TensorRecord& record, const Place& place) const;
  void check_extras(const TensorRecord& record, const Place& place, size_t num_groups) const;
};

namespace {

[[noreturn]] void throw_not_a_model(const fs::path& path) {
  std::error_code error;
  const bool there = fs::exists(path, error);
  if (error) {
    throw_io_error("open", path, error.value());
  }
  const std::string problem =
      path.empty() ? "the quantized model's path is empty; name its directory"
      : !there     ? " does not exist"
      : fs::exists(path / kJournalName)
          ? " is an unfinished run: run the same quantize command again to complete it"
          : " is not a quantized model: it has no " + std::string(kManifestName) +
                "; make one with arrow-quant quantize";
  throw Error(ErrorCode::ModelNotFound, path.string() + problem, path, ENOENT);
}

}  // namespace

QuantizedModel::QuantizedModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
QuantizedModel::QuantizedModel(QuantizedModel&&) noexcept = default;
QuantizedModel& QuantizedModel::operator=(QuantizedModel&&) noexcept = default;
QuantizedModel::~QuantizedModel() = default;

QuantizedModel QuantizedModel::open(const fs::path& path) {
  const fs::path manifest_path = path / kManifestName;
  std::error_code ignored;
  if (path.empty() || !fs::is_regular_file(manifest_path, ignored)) {
    throw_not_a_model(path);
  }
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->manifest_text = read_text_file(manifest_path);
  impl->manifest = parse_manifest(impl->manifest_text, manifest_path.string());
  impl->open_parts();
  return QuantizedModel(std::move(impl));
}

void QuantizedModel::Impl::open_parts() {
  for (const ComponentRecord& component : manifest.components) {
    for (const PartRecord& part : component.parts) {
      add_part(part, component);
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto [plain, added] = index.emplace(tensors[i].name, static_cast<int64_t>(i));
    if (!added) {
      // The name stands in several components: only the long names tell them apart.
      plain->second = -1;
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    index.emplace(qualified_name(tensors[i]), static_cast<int64_t>(i));
  }
}

void QuantizedModel::Impl::add_part(const PartRecord& part, const ComponentRecord& component) {
  const fs::path file = path / part.file.path;
  if (!fs::exists(file)) {
    throw Error(ErrorCode::Metadata, file.string() +
                                         " is missing, although the manifest lists it: copy the "
                                         "whole directory, or quantize again with --overwrite");
  }
  PartReader reader = PartReader::open(file);
  check_time_groups(reader.metadata(), component, file);
  std::unordered_map<std::string, std::vector<size_t>> blocks;
  for (size_t i = 0; i < reader.blocks().size(); ++i) {
    blocks[reader.blocks()[i].layer_name].push_back(i);
  }
  readers.push_back(std::move(reader));
  for (const TensorRecord& record : part.tensors) {
    const auto found = blocks.find(record.report.name);
    if (found == blocks.end()) {
      throw Error(ErrorCode::Metadata, file.string() + ": tensor '" + record.report.name +
                                           "' is missing, although the manifest lists it");
    }
    Place place{readers.size() - 1, std::move(found->second)};
    // Tools that rewrite tables may sort the rows.
    const std::vector<BlockHeader>& headers = readers.back().blocks();
    std::sort(place.blocks.begin(), place.blocks.end(),
              [&](size_t x, size_t y) { return headers[x].block_index < headers[y].block_index; });
    check(record, place);
    check_extras(record, place, component.time_groups ? component.time_groups->size() : 1);
    tensors.push_back(record.report);
    tensors.back().component = component.name;
    places.push_back(std::move(place));
    blocks.erase(found);
  }
  if (!blocks.empty()) {
    throw Error(ErrorCode::Metadata,
                file.string() + ": tensor '" + blocks.begin()->first + "' is not in the manifest");
  }
}

// The part and the manifest tell the same of a tensor.
void QuantizedModel::Impl::check(const TensorRecord& record, const Place& place) const {
  const PartReader& reader = readers[place.reader];
  int64_t params = 0;
  for (const size_t block : place.blocks) {
    const BlockHeader& header = reader.blocks()[block];
    params += header.num_params;
    if (header.shape != record.report.shape || header.quant_type() != record.report.quant_type ||
        to_string(header.dtype) != record.report.dtype) {
      throw Error(ErrorCode::Metadata, path.string() + ": tensor '" + record.report.name +
                                           "' has another shape or type in its part file than in "
                                           "the manifest");
    }
  }
  if (params != record.report.num_params) {
    throw Error(ErrorCode::Metadata, path.string() + ": tensor '" + record.report.name + "' has " +
                                         std::to_string(params) + " weights in its part file, " +
                                         std::to_string(record.report.num_params) +
                                         " in the manifest");
  }
}

// num_groups: of timesteps. Values are of each group, or one for all.
void QuantizedModel::Impl::check_extras(const TensorRecord& record, const Place& place,
                                        size_t num_groups) const {
  const LayerReport& report = record.report;
  const auto fail = [&](const std::string& problem) {
    throw Error(ErrorCode::Metadata,
                path.string() + ": tensor '" + report.name + "' has " + problem);
  };
  if (place.blocks.empty()) {
    return;
  }
  const BlockExtras& extras = readers[place.reader].blocks()[place.blocks[0]].extras;
  if (layer_extras(extras) != report.extras) {
    fail(
        "other transforms, corrections or activation parameters in its part file than in the "
        "manifest");
  }
  for (const auto& [column, size] : {std::pair{"bias_corrections", size_t(extras.bias_groups)},
                                     std::pair{"act", extras.act.size()}}) {
    if (size > 1 && size != num_groups) {
      fail(std::string(column) + " for " + std::to_string(size) +
           " groups of timesteps, expected " + (num_groups > 1 ? "1 or " : "") +
           std::to_string(num_groups));
    }
  }
}

const fs::path& QuantizedModel::path() const {
  return impl_->path;
}
const std::string& QuantizedModel::manifest_json() const {
  return impl_->manifest_text;
}
const Manifest& QuantizedModel::manifest() const {
  return impl_->manifest;
}
const std::vector<LayerReport>& QuantizedModel::tensors() const {
  return impl_->tensors;
}

const TimeGroups* QuantizedModel::time_groups(const std::string& component) const {
  const std::vector<ComponentRecord>& components = impl_->manifest.components;
  std::string names;
  for (const ComponentRecord& record : components) {
    if (record.name == component || (component.empty() && components.size() == 1)) {
      return record.time_groups ? &*record.time_groups : nullptr;
    }
    names += (names.empty() ? "'" : ", '") + record.name + "'";
  }
  throw Error(ErrorCode::Configuration, path().string() + " has no component '" + component +
                                            "'; it has " + (names.empty() ? "none" : names));
}

int64_t QuantizedModel::find(const std::string& name) const {
  const auto found = impl_->index.find(name);
  return found == impl_->index.end() ? -1 : found->second;
}

std::string QuantizedModel::name_of(int64_t index) const {
  const LayerReport& tensor = impl_->tensors.at(static_cast<size_t>(index));
  return find(tensor.name) == index ? tensor.name : qualified_name(tensor);
}

size_t QuantizedModel::num_blocks(int64_t index) const {
  return impl_->places.at(static_cast<size_t>(index)).blocks.size();
}

QuantizedBlock QuantizedModel::read_block(int64_t index, size_t block) const {
  const Place& place = impl_->places.at(static_cast<size_t>(index));
  const PartReader& reader = impl_->readers[place.reader];
  QuantizedBlock read = reader.read(place.blocks.at(block));
  BlockExtras& extras = read.header.extras;
  if (block > 0 && (extras.has(Transform::LowRank) || extras.has(Transform::InputScale))) {
    BlockExtras first = reader.read_extras(place.blocks[0]);
    extras.low_rank_v = std::move(first.low_rank_v);
    extras.input_scale = std::move(first.input_scale);
  }
  return read;
}

BlockExtras QuantizedModel::extras(int64_t index) const {
  const Place& place = impl_->places.at(static_cast<size_t>(index));
  const PartReader& reader = impl_->readers[place.reader];
  BlockExtras whole;
  std::vector<BlockExtras> blocks;
  for (const size_t block : place.blocks) {
    blocks.push_back(reader.read_extras(block));
  }
  if (blocks.empty()) {
    return whole;
  }
  whole = blocks[0];
  for (size_t i = 1; i < blocks.size(); ++i) {
    whole.low_rank_u.insert(whole.low_rank_u.end(), blocks[i].low_rank_u.begin(),
                            blocks[i].low_rank_u.end());
  }
  whole.bias_corrections.clear();
  for (int32_t group = 0; group < whole.bias_groups; ++group) {
    for (const BlockExtras& block : blocks) {
      const size_t rows = block.bias_corrections.size() / static_cast<size_t>(whole.bias_groups);
      const auto first = block.bias_corrections.begin() +
                         static_cast<std::ptrdiff_t>(static_cast<size_t>(group) * rows);
      whole.bias_corrections.insert(whole.bias_corrections.end(), first,
                                    first + static_cast<std::ptrdiff_t>(rows));
    }
  }
  return whole;
}

CodesView codes_view(const QuantizedBlock& block) {
  const BlockHeader& header = block.header;
  CodesView view;
  view.rows = static_cast<size_t>(header.row_count);
  view.cols = header.row_count == 0 ? 0 : static_cast<size_t>(header.num_params / header.row_count);
  view.bit_width = *bit_width_from_bits(header.bit_width);
  view.group_size = static_cast<size_t>(header.group_size);
  view.tensor_scale = header.tensor_scale;
  view.codes = block.codes();
  view.codes_stride_bytes = packed_row_bytes(view.cols, view.bit_width);
  view.scales = block.scales.as<uint16_t>().data();
  view.offsets = block.offsets.empty() ? nullptr : block.offsets.as<uint16_t>().data();
  view.params_stride = groups_per_row(view.cols, view.group_size);
  return view;
}

namespace {

void restore_kept(const QuantizedBlock& block, DType dtype, uint8_t* out) {
  const BlockHeader& header = block.header;
  if (header.dtype == dtype) {
    std::memcpy(out, block.codes(), block.data_size_bytes);
    return;
  }
  const auto count = static_cast<size_t>(header.num_params);
  if (dtype == DType::F32) {
    widen_to_f32(block.codes(), header.dtype, count, reinterpret_cast<float*>(out));
    return;
  }
  Buffer floats(count * sizeof(float));
  widen_to_f32(block.codes(), header.dtype, count, floats.as<float>().data());
  narrow_from_f32(floats.as<float>().data(), count, dtype, out);
}

}  // namespace

Buffer QuantizedModel::dequantize(int64_t index, DType dtype) const {
  const LayerReport& tensor = tensors().at(static_cast<size_t>(index));
  const bool kept = tensor.quant_type == "none";
  const std::optional<DType> source = parse_dtype(tensor.dtype);
  const bool convertible = dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
  const bool as_it_is = kept && source == dtype;
  if (!as_it_is && (!convertible || (kept && !is_quantizable(*source)))) {
    throw Error(ErrorCode::Configuration,
                "tensor '" + tensor.name + "' (" + tensor.dtype + ", stored as " +
                    tensor.quant_type + ") cannot be given as " + std::string(to_string(dtype)) +
                    "; allowed are " +
                    (kept && !is_quantizable(*source) ? tensor.dtype : "F32, F16, BF16"));
  }
  const auto element_bits = static_cast<uint64_t>(bits_of(dtype));
  Buffer out((static_cast<uint64_t>(tensor.num_params) * element_bits + 7) / 8);
  QuantizeScratch scratch;
  uint64_t offset = 0;
  for (size_t i = 0; i < num_blocks(index); ++i) {
    const QuantizedBlock block = read_block(index, i);
    if (kept) {
      restore_kept(block, dtype, out.data() + offset);
    } else {
      dequantize_rows(codes_view(block), transforms_view(block.header.extras), dtype,
                      out.data() + offset, scratch);
    }
    offset += static_cast<uint64_t>(block.header.num_params) * element_bits / 8;
  }
  return out;
}

}  // namespace arrow_quant
