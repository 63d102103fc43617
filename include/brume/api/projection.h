// Projection: the few members of an object that somebody reads, without a DOM of all of it.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "brume/base/json_fwd.h"

namespace brume::api {

/// Made once for a set of dotted paths such as "spec.containers.ports"; a list on the way stands for each of its items,
/// and the last member of a path is taken whole. Immutable, thread-safe.
class Projection {
 public:
  Projection(std::initializer_list<std::string_view> paths);
  ~Projection();
  Projection(const Projection&) = delete;
  Projection& operator=(const Projection&) = delete;

  /// JSON text with only those members of `json` that the paths name, in its order. Text that is no JSON gives "".
  [[nodiscard]] std::string text(std::string_view json) const;
  /// The same as a DOM; null for text that is no JSON.
  [[nodiscard]] Json parse(std::string_view json) const;

  struct Tree;

 private:
  std::unique_ptr<const Tree> tree_;
};

}  // namespace brume::api
