// A tensor's name taken apart: the modules on the way to it, and the words that they are made of.
// Rules match whole words of whole modules, since substrings lie: "to_out" is no "out", and
// "norm1_context.linear" is no norm.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

namespace arrow_quant {

class TensorPath {
 public:
  // Lifetime: borrows name.
  explicit TensorPath(std::string_view name);

  // "transformer_blocks", "0", "norm1", "linear" of
  // "model.transformer_blocks.0.norm1.linear.weight": without wrappers such as "model" and
  // "model.diffusion_model", and without the last ".weight".
  std::span<const std::string_view> modules() const { return modules_; }
  // The first part of the name as it stands: "model".
  std::string_view root() const { return root_; }
  // The last part of the name as it stands: "weight".
  std::string_view leaf() const { return leaf_; }

  // The first module for which test(module) is true, from position `from` on; empty if none is.
  template <class Test>
  std::string_view find(Test test, size_t from = 0) const {
    for (size_t i = from; i < modules_.size(); ++i) {
      if (test(modules_[i])) {
        return modules_[i];
      }
    }
    return {};
  }

 private:
  std::string_view root_;
  std::string_view leaf_;
  std::vector<std::string_view> modules_;
};

// The words of a module between its underscores, without digits at their ends: "norm1_context" has
// "norm" and "context". Whether one of them is in words.
bool has_word(std::string_view module, std::initializer_list<std::string_view> words);

}  // namespace arrow_quant
