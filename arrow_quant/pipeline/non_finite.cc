#include "arrow_quant/pipeline/non_finite.h"

#include <cmath>
#include <cstdio>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

std::string format_value(double value) {
  if (std::isnan(value)) return "nan";  // printf would write its sign
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// Index of an element of the [rows, cols] view, in the tensor's own shape: "[3, 0, 17]".
std::string format_index(const std::vector<int64_t>& shape, int64_t flat) {
  std::vector<int64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  std::string text = "[";
  for (size_t axis = 0; axis < index.size(); ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(index[axis]);
  }
  return text + "]";
}

}  // namespace

void throw_non_finite(const std::filesystem::path& source, const TensorInfo& tensor,
                      const RangeStats::NonFinite& bad) {
  throw Error(ErrorCode::NonFinite,
              source.string() + ": tensor '" + tensor.name + "' holds " + format_value(bad.value) +
                  " at index " + format_index(tensor.shape, static_cast<int64_t>(bad.index)) +
                  "; weights must be finite and within float32's range. Repair the model, or keep "
                  "such tensors as they are with on_nonfinite=\"keep\" (--on-nonfinite keep)");
}

std::string non_finite_text(const std::vector<int64_t>& shape, const RangeStats::NonFinite& bad) {
  return format_value(bad.value) + " at " + format_index(shape, static_cast<int64_t>(bad.index));
}

std::string kept_for_non_finite(const TensorInfo& tensor, const RangeStats::NonFinite& bad) {
  return "holds " + non_finite_text(tensor.shape, bad);
}

std::string kept_for_range(const RangeStats& range) {
  if (range.abs_max <= kLargestQuantized) return "";
  return "holds weights up to " + format_value(range.abs_max) + ": beyond " +
         format_value(kLargestQuantized) + " codes could be restored as infinity";
}

}  // namespace arrow_quant
