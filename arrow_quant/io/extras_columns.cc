#include "arrow_quant/io/extras_columns.h"

#include <limits>
#include <string>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/part_format.h"
#include "arrow_quant/io/quote.h"

namespace arrow_quant {
namespace {

class ExtrasColumns {
 public:
  ExtrasColumns(const RowGroupColumns& columns, std::vector<BlockHeader>& headers)
      : columns_(columns), headers_(headers) {}

  void read_transforms() const;
  void read_bias_groups() const;
  void read_activations() const;

 private:
  [[noreturn]] void fail(ErrorCode code, size_t row, const std::string& problem) const {
    throw Error(code, columns_.file() + ": tensor '" + headers_[row].layer_name + "', block " +
                          std::to_string(headers_[row].block_index) + ": " + problem);
  }
  [[noreturn]] void refuse(size_t row, const std::string& column, const std::string& value,
                           const std::string& known) const {
    fail(ErrorCode::Unsupported, row,
         column + " is " + value + "; this version knows " + known + ": update arrow-quant");
  }
  template <class Set>
  void numbers(const std::string& column, Set set) const;

  const RowGroupColumns& columns_;
  std::vector<BlockHeader>& headers_;
};

template <class Set>
void ExtrasColumns::numbers(const std::string& column, Set set) const {
  const auto values = columns_[column].integers();
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] > std::numeric_limits<int32_t>::max()) {
      fail(ErrorCode::Metadata, i,
           column + " is " + std::to_string(values[i]) + ", expected a number from 0 in 31 bits");
    }
    set(headers_[i].extras, static_cast<int32_t>(values[i]));
  }
}

void ExtrasColumns::read_transforms() const {
  const auto transforms = columns_["transforms"].string_lists();
  for (size_t i = 0; i < headers_.size(); ++i) {
    for (const std::string& name : transforms.row(i)) {
      const auto transform = parse_transform(name);
      if (!transform) {
        refuse(i, "transforms", "the transform " + quote(name),
               "hadamard, low_rank and input_scale");
      }
      headers_[i].extras.transforms.push_back(*transform);
    }
  }
  numbers("hadamard_block", [](BlockExtras& e, int32_t value) { e.hadamard_block = value; });
  numbers("rank", [](BlockExtras& e, int32_t value) { e.rank = value; });
}

// Their number follows from the size of the corrections.
void ExtrasColumns::read_bias_groups() const {
  const auto encodings = columns_["bias_encoding"].strings();
  const auto sizes = columns_["bias_corrections"].byte_lengths();
  for (size_t i = 0; i < headers_.size(); ++i) {
    if (!encodings[i].empty() && encodings[i] != kBiasEncodingFp16) {
      refuse(i, "bias_encoding", quote(encodings[i]), "fp16");
    }
    if (encodings[i].empty() && sizes[i] == 0) {
      continue;
    }
    const auto group_bytes = static_cast<uint64_t>(headers_[i].row_count) * sizeof(uint16_t);
    if (encodings[i].empty() || sizes[i] == 0 || headers_[i].row_count <= 0 ||
        sizes[i] % group_bytes != 0 || sizes[i] / group_bytes > kMaxTimeGroups) {
      fail(ErrorCode::Metadata, i,
           "bias_corrections is " + std::to_string(sizes[i]) + " bytes long, expected " +
               (encodings[i].empty()
                    ? "0 without bias_encoding"
                    : "1 to " + std::to_string(kMaxTimeGroups) + " groups of " +
                          std::to_string(headers_[i].row_count) + " half-precision numbers"));
    }
    headers_[i].extras.bias_groups = static_cast<int32_t>(sizes[i] / group_bytes);
  }
}

void ExtrasColumns::read_activations() const {
  const auto bits = columns_["act_bits"].integers();
  const auto modes = columns_["act_mode"].strings();
  const auto clips = columns_["act.clip"].float_lists();
  const auto scales = columns_["act.scale"].float_lists();
  const auto zero_points = columns_["act.zero_point"].float_lists();
  for (size_t i = 0; i < headers_.size(); ++i) {
    BlockExtras& extras = headers_[i].extras;
    if (bits[i] != 0 && bits[i] != 4 && bits[i] != 8) {
      refuse(i, "act_bits", std::to_string(bits[i]), "0, 4 and 8");
    }
    extras.act_bits = static_cast<int>(bits[i]);
    const auto mode = parse_act_mode(modes[i]);
    if (!mode) {
      refuse(i, "act_mode", quote(modes[i]), "dynamic and static");
    }
    extras.act_mode = *mode;
    const size_t count = clips.row(i).size();
    if (scales.row(i).size() != count || zero_points.row(i).size() != count) {
      fail(ErrorCode::Metadata, i, "act has clips, scales and zero points of other numbers");
    }
    for (size_t group = 0; group < count; ++group) {
      extras.act.push_back({clips.row(i)[group], scales.row(i)[group], zero_points.row(i)[group]});
    }
  }
}

}  // namespace

void read_extras(const RowGroupColumns& columns, std::vector<BlockHeader>& headers) {
  const ExtrasColumns extras(columns, headers);
  extras.read_transforms();
  extras.read_bias_groups();
  extras.read_activations();
}

}  // namespace arrow_quant
