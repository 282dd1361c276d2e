// A YAML file → the options it gives. The parser's events are taken as they come, so that no tree
// is built: a mapping of names to scalars, lists of strings and flat mappings needs none, and what
// is deeper, aliased or tagged is refused where it begins.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

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
    take_scalar(mark, anchor, ConfigValue(), "null");
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
      fail(mark, state_ == State::List || state_ == State::MapValue
                     ? "a list inside a value is not allowed"
                     : needed_here());
    }
    options_.back().value = std::vector<std::string>();
    state_ = State::List;
  }
  void OnSequenceEnd() override { state_ = State::Key; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_anchor(mark, anchor);
    if (state_ == State::Document) {
      state_ = State::Key;
    } else if (state_ == State::Section) {
      sections_.push_back(entered_);
      state_ = State::Key;
    } else if (state_ == State::Value) {
      options_.back().value = NamedInts();
      state_ = State::Map;
    } else {
      fail(mark, state_ == State::List || state_ == State::MapValue
                     ? "a mapping inside a value is not allowed"
                     : needed_here());
    }
  }
  void OnMapEnd() override {
    if (state_ == State::Map) {
      state_ = State::Key;
    } else if (sections_.empty()) {
      state_ = State::Document;
    } else {
      sections_.pop_back();
    }
  }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& problem) const {
    throw Error(ErrorCode::Configuration, where(mark) + ": " + problem);
  }

 private:
  // What comes next: a key, at the top or in a section; the mapping of a section; the value of an
  // option, or an entry of it.
  enum class State { Document, Key, Section, Value, List, Map, MapValue };

  std::string where(const YAML::Mark& mark) const {
    return mark.is_null() ? source_ : source_ + ":" + std::to_string(mark.line + 1);
  }

  std::string needed_here() const {
    switch (state_) {
      case State::Document:
        return "a mapping of option names to values is needed, such as \"bit_width: 4\"";
      case State::Section:
        return entered_ + ": a mapping of its options to values is needed";
      case State::Map:
        return options_.back().name + ": a name in a mapping must be text";
      default:
        return "an option's name must be text";
    }
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
                   const std::string& text) {
    check_anchor(mark, anchor);
    switch (state_) {
      case State::Document:
      case State::Section:
        if (!std::holds_alternative<std::monostate>(value)) {
          fail(mark, needed_here());
        }
        state_ = state_ == State::Section ? State::Key : State::Document;
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
      case State::Map:
        add_map_name(mark, text);
        return;
      case State::MapValue:
        set_map_value(mark, value);
        return;
    }
  }

  void add_key(const YAML::Mark& mark, const std::string& name) {
    const std::string path = sections_.empty() ? name : sections_.back() + "." + name;
    if (is_section(path)) {
      if (!names_.insert(path).second) {
        fail(mark, path + " stands twice");
      }
      entered_ = path;
      state_ = State::Section;
      return;
    }
    const std::string field = known_name(mark, path);
    for (const GivenOption& earlier : options_) {
      if (earlier.name == field) {
        fail(mark, "option " + field + " stands twice, first at " + earlier.where);
      }
    }
    options_.push_back({field, ConfigValue(), where(mark)});
    state_ = State::Value;
  }

  static bool is_section(const std::string& path) {
    const auto& fields = config_field_docs();
    return std::any_of(fields.begin(), fields.end(),
                       [&](const FieldDoc& field) { return field.path.starts_with(path + "."); });
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

  void add_map_name(const YAML::Mark& mark, const std::string& name) {
    if (!names_.insert(options_.back().name + ": " + name).second) {
      fail(mark, options_.back().name + ": " + value_text(name) + " stands twice");
    }
    std::get<NamedInts>(options_.back().value).emplace_back(name, 0);
    state_ = State::MapValue;
  }

  void set_map_value(const YAML::Mark& mark, const ConfigValue& value) {
    auto& [name, number] = std::get<NamedInts>(options_.back().value).back();
    if (!std::holds_alternative<int64_t>(value)) {
      fail(mark, options_.back().name + ": " + value_text(name) + " is " + value_text(value) +
                     ": values in a mapping are integers");
    }
    number = std::get<int64_t>(value);
    state_ = State::Map;
  }

  std::string source_;
  std::vector<GivenOption> options_;
  State state_ = State::Document;
  std::vector<std::string> sections_;  // the paths of those around the next key
  std::string entered_;                // the one whose mapping comes next
  std::set<std::string> names_;        // of sections, and "option: name" of entries in mappings
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
    throw Error(ErrorCode::Configuration,
                "cannot read " + path.string() + ": " + std::system_category().message(errno) +
                    "; name a YAML file of options",
                path, errno);
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_yaml_options(text, path.string());
}

}  // namespace arrow_quant
