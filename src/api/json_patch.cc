// RFC 6902 JSON patch and RFC 7386 merge patch.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "api/json_depth.h"
#include "brume/api/patch.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

// Deeper documents are refused: recursive code (dump, merge) walks them on the stack.
constexpr std::size_t kMaxDepth = 1000;
// Items that array inserts and removes may shift in all, so that a patch cannot be quadratic in a long array.
constexpr std::size_t kMaxShifted = 100'000'000;

std::unexpected<Error> malformed(std::string message) { return fail(Code::kBadRequest, std::move(message)); }
std::unexpected<Error> misfit(std::string message) { return fail(Code::kInvalid, std::move(message)); }

using Pointer = std::vector<std::string>;

Result<Pointer> parse_pointer(std::string_view text) {
  Pointer tokens;
  if (text.empty()) return tokens;
  if (text[0] != '/') return malformed("JSON pointer \"" + std::string(text) + "\" must begin with '/'");
  for (auto part : split(text.substr(1), '/')) {
    std::string token;
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (part[i] != '~') {
        token += part[i];
        continue;
      }
      char next = i + 1 < part.size() ? part[i + 1] : ' ';
      if (next != '0' && next != '1') return malformed("JSON pointer \"" + std::string(text) + "\" has a bad escape");
      token += next == '0' ? '~' : '/';
      ++i;
    }
    tokens.push_back(std::move(token));
  }
  if (tokens.size() > kMaxDepth) return malformed("JSON pointer is too deep");
  return tokens;
}

// An array index below `limit`; no sign, no leading zero.
std::optional<std::size_t> parse_index(std::string_view token, std::size_t limit) {
  if (token.empty() || token.size() > 9 || (token.size() > 1 && token[0] == '0')) return std::nullopt;
  std::size_t value = 0;
  for (char c : token) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::size_t>(c - '0');
  }
  return value < limit ? std::optional(value) : std::nullopt;
}

Json* child(Json& value, const std::string& token) {
  if (value.is_object()) {
    auto it = value.find(token);
    return it == value.end() ? nullptr : &*it;
  }
  if (!value.is_array()) return nullptr;
  auto index = parse_index(token, value.size());
  return index ? &value[*index] : nullptr;
}

Json* lookup(Json& doc, const Pointer& path, std::size_t count) {
  Json* value = &doc;
  for (std::size_t i = 0; i < count && value != nullptr; ++i) value = child(*value, path[i]);
  return value;
}

class Patcher {
 public:
  Patcher(Json doc, const JsonPatchLimits& limits) : doc_(std::move(doc)), limits_(limits), depth_(json_depth(doc_)) {}

  Status apply(const Json& operation) {
    if (!operation.is_object()) return malformed("each operation of a JSON patch must be an object");
    auto op = str(operation, "op");
    if (!at(operation, "path").is_string()) return malformed("operation without a path");
    path_text_ = str(operation, "path");
    BRUME_TRY(path_, parse_pointer(path_text_));
    if (op == "remove") return remove(path_, path_text_, "remove");
    if (op == "move" || op == "copy") return transfer(operation, op == "move");
    if (op != "add" && op != "replace" && op != "test") {
      return malformed("unexpected kind of operation: \"" + std::string(op) + "\"");
    }
    auto value = operation.find("value");
    if (value == operation.end()) return malformed(std::string(op) + " operation without a value");
    if (op == "test") return test(*value);
    BRUME_CHECK(grow(path_.size() + json_depth(*value)));
    return op == "add" ? add(*value, "add") : replace(*value);
  }

  Json take() { return std::move(doc_); }

 private:
  static std::unexpected<Error> missing(std::string_view op, std::string_view path) {
    return misfit(std::string(op) + " operation does not apply: doc is missing path: \"" + std::string(path) +
                  "\": missing value");
  }

  // Notes that the document may now be `depth` deep.
  Status grow(std::size_t depth) {
    depth_ = std::max(depth_, depth);
    if (depth_ <= kMaxDepth) return {};
    // The bound is coarse; look at the real depth, but not at every operation.
    if (++measured_ < 16) depth_ = std::max(json_depth(doc_), depth);
    if (depth_ > kMaxDepth) return malformed("exceeded max nesting depth");
    return {};
  }

  Status shift(std::size_t items) {
    shifted_ += items;
    if (shifted_ > kMaxShifted) return fail(Code::kRequestEntityTooLarge, "the JSON patch moves too many array items");
    return {};
  }

  Status add(Json value, std::string_view op) {
    if (path_.empty()) return doc_ = std::move(value), Status();
    Json* parent = lookup(doc_, path_, path_.size() - 1);
    if (parent == nullptr || !parent->is_structured()) return missing(op, path_text_);
    if (parent->is_object()) return (*parent)[path_.back()] = std::move(value), Status();
    auto size = parent->size();
    if (path_.back() == "-") return parent->push_back(std::move(value)), Status();
    auto index = parse_index(path_.back(), size + 1);
    if (!index) {
      return misfit(std::string(op) + " operation does not apply: unable to access invalid index: " + path_.back() +
                    ": invalid index referenced");
    }
    BRUME_CHECK(shift(size - *index));
    parent->insert(parent->begin() + static_cast<std::ptrdiff_t>(*index), std::move(value));
    return {};
  }

  Status replace(Json value) {
    Json* target = lookup(doc_, path_, path_.size());
    if (target == nullptr) return missing("replace", path_text_);
    *target = std::move(value);
    return {};
  }

  Status remove(const Pointer& path, std::string_view text, std::string_view op) {
    if (path.empty()) return doc_ = Json(), Status();
    Json* parent = lookup(doc_, path, path.size() - 1);
    if (parent == nullptr || child(*parent, path.back()) == nullptr) return missing(op, text);
    if (parent->is_object()) return parent->erase(path.back()), Status();
    auto index = parse_index(path.back(), parent->size());
    if (!index) return missing(op, text);
    BRUME_CHECK(shift(parent->size() - *index));
    parent->erase(*index);
    return {};
  }

  Status transfer(const Json& operation, bool move) {
    std::string_view op = move ? "move" : "copy";
    if (!at(operation, "from").is_string()) return malformed(std::string(op) + " operation without a from");
    auto from_text = str(operation, "from");
    BRUME_TRY(auto from, parse_pointer(from_text));
    Json* source = lookup(doc_, from, from.size());
    if (source == nullptr) return missing(op, from_text);
    bool inside = from.size() < path_.size() && std::equal(from.begin(), from.end(), path_.begin());
    if (move && inside) return malformed("a value cannot move into itself");
    if (move && from == path_) return {};
    BRUME_CHECK(grow(depth_ + path_.size() - std::min(from.size(), depth_ + path_.size())));
    if (!move) {
      copied_ += dump_json(*source).size();
      if (copied_ > limits_.max_copied_bytes) {
        return fail(Code::kRequestEntityTooLarge,
                    "the JSON patch copies more than " + std::to_string(limits_.max_copied_bytes) + " bytes");
      }
      return add(Json(*source), op);
    }
    Json value = std::move(*source);
    BRUME_CHECK(remove(from, from_text, op));
    return add(std::move(value), op);
  }

  Status test(const Json& wanted) {
    const Json* value = lookup(doc_, path_, path_.size());
    if (value != nullptr && *value == wanted) return {};
    return misfit("testing value " + path_text_ + " failed: test failed");
  }

  Json doc_;
  const JsonPatchLimits& limits_;
  std::string path_text_;
  Pointer path_;
  std::size_t depth_;
  std::size_t measured_ = 0, shifted_ = 0, copied_ = 0;
};

}  // namespace

std::size_t json_depth(const Json& value) {
  // Level by level, so that the walk itself needs no stack.
  std::vector<const Json*> level = {&value}, next;
  std::size_t depth = 0;
  while (!level.empty()) {
    next.clear();
    bool structured = false;
    for (const Json* node : level) {
      if (!node->is_structured()) continue;
      structured = true;
      for (const Json& item : *node) {
        if (item.is_structured()) next.push_back(&item);
      }
    }
    if (structured) ++depth;
    level.swap(next);
  }
  return depth;
}

Result<Json> json_patch(Json doc, const Json& patch, const JsonPatchLimits& limits) {
  if (!patch.is_array()) return malformed("a JSON patch must be an array of operations");
  if (patch.size() > limits.max_operations) {
    return fail(Code::kRequestEntityTooLarge, "The allowed maximum operations in a JSON patch is " +
                                                  std::to_string(limits.max_operations) + ", got " +
                                                  std::to_string(patch.size()));
  }
  Patcher patcher(std::move(doc), limits);
  for (const Json& operation : patch) BRUME_CHECK(patcher.apply(operation));
  return patcher.take();
}

Json merge_patch(Json doc, const Json& patch) {
  if (!patch.is_object()) return patch;
  if (!doc.is_object()) doc = Json::object();
  for (const auto& [key, value] : patch.items()) {
    if (value.is_null()) {
      doc.erase(key);
      continue;
    }
    Json& member = doc[key];
    member = merge_patch(std::move(member), value);
  }
  return doc;
}

}  // namespace brume::api
