#include "arrow_quant/io/unknown_features.h"

#include <string>
#include <string_view>

#include "arrow_quant/core/error.h"
#include "arrow_quant/io/part_format.h"

namespace arrow_quant {
namespace {

class Refusals {
 public:
  Refusals(const RowGroupColumns& columns, const std::vector<BlockHeader>& headers)
      : columns_(columns), headers_(headers) {}

  // Refuses a text that is not the one this version knows.
  void other_than(const std::string& name, std::string_view where_quantized,
                  std::string_view where_kept) const {
    const auto texts = columns_[name].strings();
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string known(headers_[i].quantized ? where_quantized : where_kept);
      if (texts[i] != known) {
        refuse(i, name + " '" + texts[i] + "'; this version knows " +
                      (known.empty() ? "none" : "'" + known + "'") + " here");
      }
    }
  }

  void other_than(const std::string& name, int64_t where_quantized, int64_t where_kept) const {
    const auto numbers = columns_[name].integers();
    for (size_t i = 0; i < numbers.size(); ++i) {
      const int64_t known = headers_[i].quantized ? where_quantized : where_kept;
      if (numbers[i] != known) {
        refuse(i, name + " " + std::to_string(numbers[i]) + "; this version knows " +
                      std::to_string(known) + " here");
      }
    }
  }

 private:
  [[noreturn]] void refuse(size_t row, const std::string& feature) const {
    throw Error(ErrorCode::Unsupported, columns_.file() + ": tensor '" + headers_[row].layer_name +
                                            "' has " + feature + ": update arrow-quant");
  }

  const RowGroupColumns& columns_;
  const std::vector<BlockHeader>& headers_;
};

}  // namespace

void refuse_unknown_features(const RowGroupColumns& columns,
                             const std::vector<BlockHeader>& headers) {
  const Refusals refuse(columns, headers);
  refuse.other_than("packing", kPackingLsbFirst, "");
  refuse.other_than("param_encoding", kParamEncodingFp16, "");
  refuse.other_than("quant_axis", 1, 0);
}

}  // namespace arrow_quant
