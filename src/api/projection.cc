#include "brume/api/projection.h"

#include <vector>

#include "api/json_cursor.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::api {

struct Projection::Tree {
  std::string name;
  std::vector<Tree> members;  // a few; none: the value is taken whole

  Tree& at(std::string_view wanted) {
    for (auto& member : members) {
      if (member.name == wanted) return member;
    }
    return members.emplace_back(Tree{.name = std::string(wanted), .members = {}});
  }
  [[nodiscard]] const Tree* find(std::string_view wanted) const {
    for (const auto& member : members) {
      if (member.name == wanted) return &member;
    }
    return nullptr;
  }
};

namespace {

void copy(JsonCursor& from, const Projection::Tree& tree, std::string& out) {
  const char first = tree.members.empty() ? '\0' : from.peek();
  if (first == '{') {
    out += '{';
    from.object([&](std::string_view key) {
      const auto* wanted = tree.find(key);
      if (wanted == nullptr) {
        from.skip();
        return from.ok();
      }
      if (out.back() != '{') out += ',';
      append_json_string(out, key);
      out += ':';
      copy(from, *wanted, out);
      return from.ok();
    });
    out += '}';
  } else if (first == '[') {
    out += '[';
    from.array([&] {
      if (out.back() != '[') out += ',';
      copy(from, tree, out);
      return from.ok();
    });
    out += ']';
  } else {
    out += from.skip();
  }
}

}  // namespace

Projection::Projection(std::initializer_list<std::string_view> paths) {
  auto tree = std::make_unique<Tree>();
  for (const auto path : paths) {
    auto* at = tree.get();
    for (const auto part : split(path, '.')) at = &at->at(part);
  }
  tree_ = std::move(tree);
}

Projection::~Projection() = default;

std::string Projection::text(std::string_view json) const {
  std::string out;
  JsonCursor cursor(json);
  copy(cursor, *tree_, out);
  return cursor.ok() ? out : std::string();
}

Json Projection::parse(std::string_view json) const { return parse_json(text(json)).value_or(Json()); }

}  // namespace brume::api
