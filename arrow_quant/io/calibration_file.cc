#include "arrow_quant/io/calibration_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/util/io_util.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <nlohmann/json.hpp>

#include "arrow_quant/core/error.h"
#include "arrow_quant/core/float16.h"
#include "arrow_quant/io/parquet_guard.h"

namespace arrow_quant {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr const char* kKey = "arrow_quant.calibration";
const std::vector<std::string> kWithoutXtx = {"step",   "n_rows",   "ch_min", "ch_max",
                                              "ch_sum", "ch_sumsq", "rows",   "row_trajectory"};

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& problem) {
  throw Error(ErrorCode::Metadata,
              path.string() + ": " + problem + "; collect the calibration data again");
}

void check(const arrow::Status& status, const std::filesystem::path& path) {
  if (status.ok()) return;
  if (const int read_errno = arrow::internal::ErrnoFromStatus(status)) {
    throw_io_error("read", path, read_errno);
  }
  fail(path, "not a readable calibration file: " + status.ToString());
}

template <class F>
auto guard(const std::filesystem::path& path, F read) {
  return guard_parquet(path, read, [&](const std::string& problem) {
    fail(path, "not a readable calibration file: " + problem);
  });
}

CalibrationInfo parse_info(const std::string& text, const std::filesystem::path& path) {
  const json object = json::parse(text);
  const int version = object.at("format_version").get<int>();
  if (version > kVersion) {
    throw Error(ErrorCode::Unsupported, path.string() + " has format version " +
                                            std::to_string(version) +
                                            ", this version reads up to " +
                                            std::to_string(kVersion) + ": update arrow-quant");
  }
  CalibrationInfo info;
  info.component = object.at("component");
  info.model_class = object.at("model_class");
  const json& axis = object.at("time_axis");
  info.time_kind = axis.at("kind");
  info.schedule = axis.at("schedule");
  for (const json& step : axis.at("steps")) {
    info.steps.push_back({step.at("timestep").get<double>(), step.at("log_snr").get<double>()});
  }
  info.num_trajectories = object.at("num_trajectories");
  info.validation_every = object.at("validation").at("every");
  info.validation_remainder = object.at("validation").at("remainder");
  if (info.validation_every < 1 || info.steps.empty()) {
    fail(path, "its metadata name no steps, or no way to hold trajectories out");
  }
  return info;
}

// One row of a row group, column by column.
class Columns {
 public:
  Columns(std::shared_ptr<arrow::RecordBatch> batch, const std::filesystem::path& path)
      : batch_(std::move(batch)), path_(path) {}

  int64_t num_rows() const { return batch_->num_rows(); }

  std::string text(const char* name, int64_t row) const {
    const auto& column = typed<arrow::StringArray>(name);
    return column.GetString(row);
  }
  int64_t integer(const char* name, int64_t row) const {
    const auto& column = *find(name);
    if (column.type_id() == arrow::Type::INT32) {
      return static_cast<const arrow::Int32Array&>(column).Value(row);
    }
    return typed<arrow::Int64Array>(name).Value(row);
  }
  std::vector<float> floats(const char* name, int64_t row) const {
    const auto slice = list(name, row);
    const auto& values = cast<arrow::FloatArray>(*slice, name);
    return {values.raw_values(), values.raw_values() + values.length()};
  }
  std::vector<float> halves(const char* name, int64_t row) const {
    const auto slice = list(name, row);
    const auto& values = cast<arrow::HalfFloatArray>(*slice, name);
    std::vector<float> out(static_cast<size_t>(values.length()));
    std::transform(values.raw_values(), values.raw_values() + values.length(), out.begin(),
                   half_to_float);
    return out;
  }
  std::vector<int32_t> integers(const char* name, int64_t row) const {
    const auto slice = list(name, row);
    const auto& values = cast<arrow::Int32Array>(*slice, name);
    return {values.raw_values(), values.raw_values() + values.length()};
  }
  std::vector<float> float_bytes(const char* name, int64_t row) const {
    const auto& column = *find(name);
    const std::string_view bytes =
        column.type_id() == arrow::Type::LARGE_BINARY
            ? static_cast<const arrow::LargeBinaryArray&>(column).GetView(row)
            : typed<arrow::BinaryArray>(name).GetView(row);
    std::vector<float> out(bytes.size() / sizeof(float));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
    return out;
  }

 private:
  std::shared_ptr<arrow::Array> find(const char* name) const {
    const auto column = batch_->GetColumnByName(name);
    if (column == nullptr) fail(path_, std::string("no column '") + name + "'");
    if (column->null_count() != 0) fail(path_, std::string("nulls in column '") + name + "'");
    return column;
  }
  template <class T>
  const T& cast(const arrow::Array& array, const char* name) const {
    const auto* typed = dynamic_cast<const T*>(&array);
    if (typed == nullptr) {
      fail(path_, std::string("column '") + name + "' holds " + array.type()->ToString());
    }
    return *typed;
  }
  template <class T>
  const T& typed(const char* name) const {
    return cast<T>(*find(name), name);
  }
  std::shared_ptr<arrow::Array> list(const char* name, int64_t row) const {
    return typed<arrow::ListArray>(name).value_slice(row);
  }

  std::shared_ptr<arrow::RecordBatch> batch_;
  const std::filesystem::path& path_;
};

}  // namespace

struct CalibrationFile::Impl {
  std::filesystem::path path;
  CalibrationInfo info;
  std::map<std::string, Entry> layers;
  std::map<std::string, int> row_groups;
  std::unique_ptr<parquet::arrow::FileReader> reader;
  std::mutex mutex;  // of the reader

  void open_reader();
  void index();
  Columns columns(int row_group, const std::vector<std::string>& names);
  void read_row(const Columns& columns, int64_t row, bool with_xtx, LayerCalibration& layer) const;
  LayerCalibration read(const std::string& name, bool with_xtx);
  void check_finite(const LayerCalibration& layer, int64_t step, const char* what,
                    std::span<const float> values) const;
  void check_size(const LayerCalibration& layer, int64_t step, const char* what, size_t found,
                  size_t expected) const;
};

void CalibrationFile::Impl::open_reader() {
  std::shared_ptr<arrow::io::ReadableFile> file;
  const auto opened = arrow::io::ReadableFile::Open(path.string());
  check(opened.status(), path);
  file = *opened;
  auto parquet_file = parquet::ParquetFileReader::Open(file);
  const auto& entries = parquet_file->metadata()->key_value_metadata();
  const auto text = entries ? entries->Get(kKey)
                            : arrow::Result<std::string>(arrow::Status::KeyError("no metadata"));
  if (!text.ok()) {
    fail(path, std::string("not a calibration file, since its metadata have no ") + kKey);
  }
  info = parse_info(*text, path);
  auto made =
      parquet::arrow::FileReader::Make(arrow::default_memory_pool(), std::move(parquet_file));
  check(made.status(), path);
  reader = *std::move(made);
}

Columns CalibrationFile::Impl::columns(int row_group, const std::vector<std::string>& names) {
  const std::lock_guard lock(mutex);
  std::vector<int> leaves;
  const parquet::SchemaDescriptor& schema = *reader->parquet_reader()->metadata()->schema();
  for (int leaf = 0; leaf < schema.num_columns(); ++leaf) {
    const std::string root = schema.GetColumnRoot(leaf)->name();
    if (names.empty() || std::find(names.begin(), names.end(), root) != names.end()) {
      leaves.push_back(leaf);
    }
  }
  std::shared_ptr<arrow::Table> table;
  const auto read = reader->ReadRowGroup(row_group, leaves);
  check(read.status(), path);
  const auto batch = (*read)->CombineChunksToBatch();
  check(batch.status(), path);
  return {*batch, path};
}

void CalibrationFile::Impl::index() {
  std::set<int32_t> trajectories;
  const int groups = reader->num_row_groups();
  for (int g = 0; g < groups; ++g) {
    const Columns rows = columns(
        g, {"layer_name", "input_alias", "channels", "cols", "step", "n_rows", "row_trajectory"});
    if (rows.num_rows() == 0) continue;
    const std::string name = rows.text("layer_name", 0);
    if (rows.integer("step", 0) != -1 || !row_groups.emplace(name, g).second) {
      fail(path, "layer '" + name + "' does not begin with the one row of step -1");
    }
    Entry entry{rows.text("input_alias", 0), rows.integer("channels", 0), rows.integer("cols", 0),
                rows.integer("n_rows", 0) > 0};
    if (entry.channels < 1 || entry.cols < 1 || entry.cols % entry.channels != 0) {
      fail(path, "layer '" + name + "' has " + std::to_string(entry.channels) + " channels and " +
                     std::to_string(entry.cols) + " cols, expected a multiple");
    }
    for (int64_t row = 1; row < rows.num_rows(); ++row) {
      entry.counted_rows += rows.integer("n_rows", row);
      for (const int32_t trajectory : rows.integers("row_trajectory", row)) {
        trajectories.insert(trajectory);
        ++(info.held_out(trajectory) ? entry.held_out_rows : entry.calibrating_rows);
      }
    }
    layers.emplace(name, std::move(entry));
  }
  info.trajectories.assign(trajectories.begin(), trajectories.end());
  for (const auto& [name, entry] : layers) {
    if (entry.alias.empty()) continue;
    const auto data = layers.find(entry.alias);
    if (data == layers.end() || !data->second.alias.empty() || data->second.cols != entry.cols) {
      fail(path, "layer '" + name + "' is said to share the input of '" + entry.alias +
                     "', which has no data of its size");
    }
  }
}

void CalibrationFile::Impl::check_finite(const LayerCalibration& layer, int64_t step,
                                         const char* what, std::span<const float> values) const {
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad != values.end()) {
    fail(path, "layer '" + layer.name + "', step " + std::to_string(step) + ": " + what +
                   " holds " + std::to_string(*bad) + ", expected finite values");
  }
}

void CalibrationFile::Impl::check_size(const LayerCalibration& layer, int64_t step,
                                       const char* what, size_t found, size_t expected) const {
  if (found != expected) {
    fail(path, "layer '" + layer.name + "', step " + std::to_string(step) + ": " + what + " has " +
                   std::to_string(found) + " values, expected " + std::to_string(expected));
  }
}

void CalibrationFile::Impl::read_row(const Columns& columns, int64_t row, bool with_xtx,
                                     LayerCalibration& layer) const {
  const int64_t step = columns.integer("step", row);
  const auto cols = static_cast<size_t>(layer.cols);
  if (step == -1) {
    if (!with_xtx) return;
    layer.xtx_rows = columns.integer("n_rows", row);
    layer.xtx = columns.float_bytes("xtx", row);
    if (!layer.xtx.empty()) {
      check_size(layer, step, "xtx", layer.xtx.size(), cols * (cols + 1) / 2);
      check_finite(layer, step, "xtx", layer.xtx);
    }
    return;
  }
  if (step < 0 || static_cast<size_t>(step) >= info.steps.size()) {
    fail(path, "layer '" + layer.name + "' has a step " + std::to_string(step) + " of " +
                   std::to_string(info.steps.size()));
  }
  StepSums sums;
  sums.step = static_cast<int32_t>(step);
  sums.n_rows = columns.integer("n_rows", row);
  for (const auto& [name, values] :
       {std::pair{"ch_min", &sums.min}, std::pair{"ch_max", &sums.max},
        std::pair{"ch_sum", &sums.sum}, std::pair{"ch_sumsq", &sums.sumsq}}) {
    *values = columns.floats(name, row);
    if (!values->empty()) {
      check_size(layer, step, name, values->size(), static_cast<size_t>(layer.channels));
      check_finite(layer, step, name, *values);
    }
  }
  layer.steps.push_back(std::move(sums));
  const std::vector<float> x = columns.halves("rows", row);
  const std::vector<int32_t> trajectories = columns.integers("row_trajectory", row);
  check_size(layer, step, "rows", x.size(), trajectories.size() * cols);
  check_finite(layer, step, "rows", x);
  layer.rows.x.insert(layer.rows.x.end(), x.begin(), x.end());
  layer.rows.step.insert(layer.rows.step.end(), trajectories.size(), static_cast<int32_t>(step));
  layer.rows.trajectory.insert(layer.rows.trajectory.end(), trajectories.begin(),
                               trajectories.end());
}

CalibrationFile::CalibrationFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CalibrationFile::CalibrationFile(CalibrationFile&&) noexcept = default;
CalibrationFile& CalibrationFile::operator=(CalibrationFile&&) noexcept = default;
CalibrationFile::~CalibrationFile() = default;

CalibrationFile CalibrationFile::open(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  guard(path, [&] {
    impl->open_reader();
    impl->index();
  });
  return CalibrationFile(std::move(impl));
}

const std::filesystem::path& CalibrationFile::path() const {
  return impl_->path;
}
const CalibrationInfo& CalibrationFile::info() const {
  return impl_->info;
}
const std::map<std::string, CalibrationFile::Entry>& CalibrationFile::layers() const {
  return impl_->layers;
}

const std::string& CalibrationFile::data_of(const std::string& name) const {
  const auto found = impl_->layers.find(name);
  return found->second.alias.empty() ? found->first : found->second.alias;
}

LayerCalibration CalibrationFile::Impl::read(const std::string& name, bool with_xtx) {
  const Entry& entry = layers.at(name);
  LayerCalibration layer;
  layer.name = name;
  layer.channels = entry.channels;
  layer.cols = entry.cols;
  guard(path, [&] {
    const Columns rows =
        columns(row_groups.at(name), with_xtx ? std::vector<std::string>() : kWithoutXtx);
    for (int64_t row = 0; row < rows.num_rows(); ++row) {
      read_row(rows, row, with_xtx, layer);
    }
  });
  return layer;
}

LayerCalibration CalibrationFile::read(const std::string& name) const {
  return impl_->read(name, true);
}

LayerCalibration CalibrationFile::read_rows(const std::string& name) const {
  return impl_->read(name, false);
}

}  // namespace arrow_quant
