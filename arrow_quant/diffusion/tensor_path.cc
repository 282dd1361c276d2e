#include "arrow_quant/diffusion/tensor_path.h"

#include <algorithm>
#include <array>

namespace arrow_quant {
namespace {

// What checkpoints put before the names of a model's own modules.
constexpr std::array<std::string_view, 17> kWrappers = {
    "model",     "module",   "transformer",     "unet",       "net",      "denoiser",
    "dit",       "backbone", "diffusion_model", "ema_model",  "mixins",   "control_model",
    "_orig_mod", "network",  "language_model",  "base_model", "diffusion"};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t end = text.find(separator); end != text.npos; end = text.find(separator, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::string_view without_digits_at_end(std::string_view word) {
  const size_t last = word.find_last_not_of("0123456789");
  return word.substr(0, last == word.npos ? 0 : last + 1);
}

}  // namespace

TensorPath::TensorPath(std::string_view name) : modules_(split(name, '.')) {
  root_ = modules_.front();
  leaf_ = modules_.back();
  if (leaf_ == "weight" && modules_.size() > 1) {
    modules_.pop_back();
  }
  const auto own = std::find_if(modules_.begin(), modules_.end() - 1, [](std::string_view part) {
    return std::find(kWrappers.begin(), kWrappers.end(), part) == kWrappers.end();
  });
  modules_.erase(modules_.begin(), own);
}

bool has_word(std::string_view module, std::initializer_list<std::string_view> words) {
  const std::vector<std::string_view> own = split(module, '_');
  return std::any_of(own.begin(), own.end(), [&](std::string_view word) {
    const std::string_view stem = without_digits_at_end(word);
    return std::find(words.begin(), words.end(), stem) != words.end();
  });
}

}  // namespace arrow_quant
