#include "brume/api/edit.h"

#include <map>

#include "api/json_cursor.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

// The edits by the names on their paths, in the order of keys.
struct Node {
  std::map<std::string_view, Node> members;
  const std::string* value = nullptr;  // of the last name
};

// Writes an object: the members of `from`, which may be none, as far as `node` leaves them, and its own.
class Rewriter {
 public:
  Rewriter(const Node& node, std::string& out) : next_(node.members.begin()), end_(node.members.end()), out_(out) {
    out_ += '{';
  }

  bool copy(JsonCursor& from) {
    return from.object([&](std::string_view key) {
      for (; next_ != end_ && next_->first < key; ++next_) add(*next_);
      if (next_ == end_ || next_->first != key) {
        begin(key);
        out_ += from.skip();
      } else {
        change(from, *next_++);
      }
      return from.ok();
    });
  }

  void finish() {
    for (; next_ != end_; ++next_) add(*next_);
    out_ += '}';
  }

 private:
  using Member = std::pair<const std::string_view, Node>;

  void begin(std::string_view key) {
    if (!empty_) out_ += ',';
    empty_ = false;
    append_json_string(out_, key);
    out_ += ':';
  }

  // A member that is not there yet.
  void add(const Member& member) {
    const auto& [key, node] = member;
    if (node.value != nullptr) {
      if (node.value->empty()) return;
      begin(key);
      out_ += *node.value;
      return;
    }
    begin(key);
    Rewriter(node, out_).finish();
  }

  void change(JsonCursor& from, const Member& member) {
    if (member.second.value != nullptr || from.peek() != '{') {
      from.skip();
      return add(member);
    }
    begin(member.first);
    Rewriter inner(member.second, out_);
    inner.copy(from);
    inner.finish();
  }

  std::map<std::string_view, Node>::const_iterator next_, end_;
  std::string& out_;
  bool empty_ = true;
};

}  // namespace

std::string edit_members(std::string_view json, std::span<const MemberEdit> edits) {
  Node root;
  std::size_t grown = 0;
  for (const auto& edit : edits) {
    auto* node = &root;
    for (const auto name : split(edit.path, '.')) node = &node->members[name];
    node->value = &edit.value;
    grown += edit.path.size() + edit.value.size();
  }
  std::string out;
  out.reserve(json.size() + grown);
  JsonCursor from(json);
  Rewriter rewriter(root, out);
  if (!rewriter.copy(from)) return {};
  rewriter.finish();
  return out;
}

}  // namespace brume::api
