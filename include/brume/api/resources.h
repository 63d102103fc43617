// Which resources are served: group, version, kind, scope, verbs, sub-resources. Built-in ones come from the generated
// tables; CRDs add more at run time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace brume::api {

struct Type;  // schema.h

struct Subresource {
  std::string_view name;                  ///< status, scale, log, ...
  std::string_view group, version, kind;  ///< of what it takes or gives
  std::span<const std::string_view> verbs;
};

/// One served resource. Constant data: pointers to it stay valid for the process's life.
struct Resource {
  std::string_view group;    ///< "" is core
  std::string_view version;  ///< v1
  std::string_view plural;   ///< pods
  std::string_view singular;
  std::string_view kind;  ///< Pod
  bool namespaced = false;
  std::span<const std::string_view> verbs;
  std::span<const std::string_view> short_names;
  std::span<const std::string_view> categories;
  std::span<const Subresource> subresources;
  const Type* type = nullptr;

  [[nodiscard]] std::string api_version() const;     ///< group/version, or version
  [[nodiscard]] std::string group_resource() const;  ///< deployments.apps, pods
  [[nodiscard]] const Subresource* subresource(std::string_view name) const;
  [[nodiscard]] bool has_verb(std::string_view verb) const;
};

/// All built-in resources, in discovery order (group priority as Kubernetes has it).
[[nodiscard]] std::span<const Resource> builtin_resources();
/// Null when there is none.
[[nodiscard]] const Resource* find_resource(std::string_view group, std::string_view version, std::string_view plural);
/// By kind, e.g. ("apps/v1", "Deployment").
[[nodiscard]] const Resource* find_kind(std::string_view api_version, std::string_view kind);
/// A built-in resource that must exist: res("pods"), res("deployments.apps"). Aborts on a name that is not in the
/// tables.
[[nodiscard]] const Resource& res(std::string_view group_resource);

}  // namespace brume::api
