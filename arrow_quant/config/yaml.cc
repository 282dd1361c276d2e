// A YAML file → the options it gives. The parser's events are taken as they come, so that no tree
// is built: a mapping of names to scalars or lists of strings needs none, and what is deeper,
// aliased or tagged is refused where it begins.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "arrow_quant/config/options.h"
#include "arrow_quant/config/value_text.h"
#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;

class OptionCollector : public YAML::EventHandler {
 public:
  explicit OptionCollector(std::string source) : source_(std::move(source)) {}

  std::vector<GivenOption> take() { return std::move(options_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      fail(mark, "a second document: one is allowed");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    take_scalar(mark, anchor, ConfigValue());
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_anchor(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (tag != "?" && tag != "!" && !tag.empty()) {  // plain, quoted
      fail(mark, "tag " + value_text(tag) + ": tags are not allowed");
    }
    take_scalar(mark, anchor, tag == "!" ? ConfigValue(value) : parse_plain_scalar(value), value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_anchor(mark, anchor);
    if (state_ != State::Value) {
      fail(mark, state_ == State::Document ? kMappingNeeded
                 : state_ == State::Key    ? "an option's name must be text"
                                           : "a list inside a list is not allowed");
    }
    options_.back().value = std::vector<std::string>();
    state_ = State::List;
  }
  void OnSequenceEnd() override { state_ = State::Key; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_anchor(mark, anchor);
    if (state_ != State::Document) {
      fail(mark, "a mapping is not allowed here: values are scalars or lists of strings");
    }
    state_ = State::Key;
  }
  void OnMapEnd() override { state_ = State::Document; }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& problem) const {
    throw Error(ErrorCode::Configuration, where(mark) + ": " + problem);
  }

 private:
  enum class State { Document, Key, Value, List };
  static constexpr const char* kMappingNeeded =
      "a mapping of option names to values is needed, such as \"bit_width: 4\"";

  std::string where(const YAML::Mark& mark) const {
    return mark.is_null() ? source_ : source_ + ":" + std::to_string(mark.line + 1);
  }

  void check_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) {
      refuse_anchor(mark);
    }
  }
  [[noreturn]] void refuse_anchor(const YAML::Mark& mark) const {
    fail(mark, "anchors and aliases are not allowed: write the value out");
  }

  // text: a scalar as it was written; a key is taken by it.
  void take_scalar(const YAML::Mark& mark, YAML::anchor_t anchor, ConfigValue value,
                   const std::string& text = "null") {
    check_anchor(mark, anchor);
    switch (state_) {
      case State::Document:
        if (!std::holds_alternative<std::monostate>(value)) {
          fail(mark, kMappingNeeded);
        }
        return;
      case State::Key:
        add_key(mark, text);
        return;
      case State::Value:
        options_.back().value = std::move(value);
        state_ = State::Key;
        return;
      case State::List:
        add_list_entry(mark, value);
        return;
    }
  }

  void add_key(const YAML::Mark& mark, const std::string& name) {
    const std::string field = known_name(mark, name);
    for (const GivenOption& earlier : options_) {
      if (earlier.name == field) {
        fail(mark, "option " + field + " stands twice, first at " + earlier.where);
      }
    }
    options_.push_back({field, ConfigValue(), where(mark)});
    state_ = State::Value;
  }

  std::string known_name(const YAML::Mark& mark, const std::string& name) const {
    try {
      return std::string(config_field_name(name));
    } catch (const Error& error) {
      fail(mark, error.what());
    }
  }

  void add_list_entry(const YAML::Mark& mark, const ConfigValue& entry) {
    if (!std::holds_alternative<std::string>(entry)) {
      fail(mark, options_.back().name + ": entry " + value_text(entry) +
                     " is not a string; put it in quotes");
    }
    std::get<std::vector<std::string>>(options_.back().value)
        .push_back(std::get<std::string>(entry));
  }

  std::string source_;
  std::vector<GivenOption> options_;
  State state_ = State::Document;
  int documents_ = 0;
};

}  // namespace

std::vector<GivenOption> parse_yaml_options(const std::string& text, const std::string& source) {
  if (text.size() > kMaxBytes) {
    throw Error(ErrorCode::Configuration,
                source + ": larger than 1 MiB, which no configuration needs");
  }
  OptionCollector collector(source);
  // The parser takes the end of the file for the end of an open quote, but not the end of a
  // document, which is therefore marked.
  std::istringstream stream(text + (text.ends_with('\n') ? "...\n" : "\n...\n"));
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(collector)) {
    }
  } catch (const YAML::Exception& exception) {
    collector.fail(exception.mark, "not valid YAML: " + exception.msg);
  }
  return collector.take();
}

std::vector<GivenOption> read_yaml_options(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    throw_io_error("read", path, errno);
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_yaml_options(text, path.string());
}

}  // namespace arrow_quant
