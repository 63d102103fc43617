#include "api/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <sstream>

#include "api/strict_faults.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

// Bytes of scalars that aliases may add in all.
constexpr std::size_t kMaxAliasBytes = 16 * 1024 * 1024;

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Integers as Go's strconv reads them with base 0: 0x, 0o or a bare 0 for octal, 0b; underscores are ignored.
std::optional<Json> parse_integer(std::string_view text) {
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c != '_'; });
  std::string_view rest = digits;
  bool negative = rest.starts_with('-');
  if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
  int base = 10;
  if (rest.size() > 1 && rest[0] == '0') {
    char mark = static_cast<char>(rest[1] | 32);
    base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
    rest.remove_prefix(mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1);
  }
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
  if (rest.empty() || error != std::errc() || end != rest.data() + rest.size()) return std::nullopt;
  constexpr auto kLimit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!negative) return value <= kLimit ? Json(static_cast<std::int64_t>(value)) : Json(value);
  if (value > kLimit + 1) return std::nullopt;
  return Json(static_cast<std::int64_t>(~value + 1));
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool looks_like_float(std::string_view text) {
  std::size_t i = 0;
  auto digits = [&] {
    auto begin = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i - begin;
  };
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
  bool whole = digits() > 0;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0 && !whole) return false;
  } else if (!whole) {
    return false;
  }
  if (i < text.size() && (text[i] | 32) == 'e') {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

std::optional<Json> parse_float(std::string_view text) {
  if (!looks_like_float(text)) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  // Go prints whole floats without a fraction, so integer fields accept them.
  if (std::abs(value) < 9e15 && value == std::floor(value)) return Json(static_cast<std::int64_t>(value));
  return Json(value);
}

struct Stop {
  std::string message;
  Code code = Code::kBadRequest;
};

// Builds JSON from yaml-cpp's events. Throws Stop when a cap is passed.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const DecodeOptions& options) : options_(options) {}

  [[nodiscard]] const YAML::Mark& start() const { return start_; }

  Decoded take() {
    anchors_.clear();
    return {std::move(root_), duplicates_.take()};
  }

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(Json(), mark, anchor, 0); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw Stop{"yaml: anchor refers to itself", Code::kBadRequest};
    count(it->second.nodes);
    alias_bytes_ += it->second.bytes;
    if (alias_bytes_ > kMaxAliasBytes) throw Stop{"yaml: document contains excessive aliasing", Code::kBadRequest};
    for (Frame& frame : stack_) {
      frame.nodes += it->second.nodes;
      frame.bytes += it->second.bytes;
    }
    place(Json(it->second.value), mark);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    add(scalar(tag, value), mark, anchor, value.size());
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(Json::array(), mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(Json::object(), mark, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Json value;
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    std::optional<std::string> key;  // of an object, while its value is awaited
    std::vector<Json> merges;        // what "<<" named
    std::size_t nodes = 1, bytes = 0;
  };
  struct Anchor {
    Json value;
    std::size_t nodes = 1, bytes = 0;
  };

  void count(std::size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > options_.max_yaml_nodes) throw Stop{"yaml: document contains excessive aliasing", Code::kBadRequest};
  }

  static Json scalar(const std::string& tag, const std::string& value) {
    constexpr std::string_view kPrefix = "tag:yaml.org,2002:";
    if (tag == "?") return resolve_plain_scalar(value);
    if (!tag.starts_with(kPrefix)) return value;
    auto name = std::string_view(tag).substr(kPrefix.size());
    if (name == "binary") {
      auto bytes = base64_decode(value);
      if (!bytes) throw Stop{"yaml: !!binary value contains invalid base64 data", Code::kBadRequest};
      return *bytes;
    }
    if (name == "str" || !one_of(name, {"int", "float", "bool", "null"})) return value;
    Json resolved = resolve_plain_scalar(value);
    bool fits = (name == "int" && resolved.is_number_integer()) || (name == "float" && resolved.is_number()) ||
                (name == "bool" && resolved.is_boolean()) || (name == "null" && resolved.is_null());
    if (!fits) throw Stop{"yaml: cannot decode \"" + value + "\" as a !!" + std::string(name), Code::kBadRequest};
    return resolved;
  }

  void add(Json value, const YAML::Mark& mark, YAML::anchor_t anchor, std::size_t bytes) {
    count(1);
    for (Frame& frame : stack_) {
      ++frame.nodes;
      frame.bytes += bytes;
    }
    if (anchor != 0) anchors_[anchor] = {value, 1, bytes};
    place(std::move(value), mark);
  }

  void open(Json empty, const YAML::Mark& mark, YAML::anchor_t anchor) {
    count(1);
    if (stack_.size() >= options_.max_yaml_depth) throw Stop{"yaml: exceeded max nesting depth", Code::kBadRequest};
    for (Frame& frame : stack_) ++frame.nodes;
    Frame frame;
    frame.value = std::move(empty);
    frame.mark = mark;
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    // Own keys win over merged ones, earlier merges over later ones.
    for (Json& merge : frame.merges) {
      for (auto& [key, value] : merge.items()) {
        if (!frame.value.contains(key)) frame.value[key] = std::move(value);
      }
    }
    if (frame.anchor != 0) anchors_[frame.anchor] = {frame.value, frame.nodes, frame.bytes};
    place(std::move(frame.value), frame.mark);
  }

  void place(Json value, const YAML::Mark& mark) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.value.is_array()) {
      frame.value.push_back(std::move(value));
    } else if (!frame.key) {
      frame.key = key_text(value);
    } else {
      auto key = std::move(*frame.key);
      frame.key.reset();
      put(frame, key, std::move(value), mark);
    }
  }

  static std::string key_text(const Json& key) {
    if (key.is_string()) return key.get<std::string>();
    if (key.is_boolean() || key.is_number()) return key.dump();
    throw Stop{"yaml: unsupported map key", Code::kBadRequest};
  }

  void put(Frame& frame, const std::string& key, Json value, const YAML::Mark& mark) {
    if (key == "<<" && value.is_object()) {
      frame.merges.push_back(std::move(value));
      return;
    }
    if (key == "<<" && value.is_array() &&
        std::ranges::all_of(value, [](const Json& item) { return item.is_object(); })) {
      for (Json& item : value) frame.merges.push_back(std::move(item));
      return;
    }
    auto [it, added] = frame.value.emplace(key, Json());
    if (!added) {
      duplicates_.add("line " + std::to_string(mark.line + 1) + ": key \"" + key + "\" already set in map");
    }
    *it = std::move(value);
  }

  const DecodeOptions& options_;
  YAML::Mark start_ = YAML::Mark::null_mark();
  Json root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Anchor> anchors_;
  StrictFaults duplicates_;
  std::size_t nodes_ = 0, alias_bytes_ = 0;
};

// Reads a string as a stream without copying it.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

Json resolve_plain_scalar(std::string_view text) {
  if (one_of(text, {"", "~", "null", "Null", "NULL"})) return {};
  if (one_of(text, {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) return true;
  if (one_of(text, {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) return false;
  if (is_digit(text[0]) || text[0] == '-' || text[0] == '+' || text[0] == '.') {
    if (auto integer = parse_integer(text)) return *integer;
    if (auto real = parse_float(text)) return *real;
  }
  return std::string(text);
}

Result<std::vector<Decoded>> read_yaml(std::string_view body, const DecodeOptions& options) {
  if (body.size() > options.max_bytes) {
    return fail(Code::kRequestEntityTooLarge,
                "the document is larger than " + std::to_string(options.max_bytes) + " bytes");
  }
  if (!is_utf8(body)) return fail(Code::kBadRequest, "yaml: invalid UTF-8");
  std::vector<Decoded> documents;
  try {
    ViewBuffer buffer(body);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    int last_start = -1;
    while (true) {
      Builder builder(options);
      if (!parser.HandleNextDocument(builder)) break;
      // A stray bracket after a document makes yaml-cpp give empty documents for ever, all at the same place.
      if (builder.start().pos == last_start) {
        return fail(Code::kBadRequest, "yaml: line " + std::to_string(builder.start().line + 1) +
                                           ": did not find expected <document start>");
      }
      last_start = builder.start().pos;
      auto decoded = builder.take();
      if (!decoded.value.is_null()) documents.push_back(std::move(decoded));
    }
  } catch (const Stop& stop) {
    return fail(stop.code, stop.message);
  } catch (const YAML::Exception& error) {
    return fail(Code::kBadRequest, "yaml: line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  } catch (const std::exception& error) {
    return fail(Code::kBadRequest, std::string("yaml: ") + error.what());
  }
  return documents;
}

}  // namespace brume::api
