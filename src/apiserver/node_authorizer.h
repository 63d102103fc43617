// What a node may do: read what its own pods refer to, and write itself, its lease and its pods' status.
#pragma once

#include <string>
#include <string_view>

#include "access.h"
#include "rbac.h"

namespace brume::apiserver {

/// The name of the node that a user is (system:node:NAME in group system:nodes), or "".
[[nodiscard]] std::string_view node_name_of(const User& user);

/// Whether `pod` (JSON) refers to the secret, config map, claim or service account `name`. Kinds: secrets, configmaps,
/// persistentvolumeclaims, serviceaccounts; another kind is never referred to.
[[nodiscard]] bool pod_refers_to(const Json& pod, std::string_view plural, std::string_view name);

/// Kubernetes' node authorizer. It keeps no graph: for the one object that a node asks for it looks through the pods of
/// that namespace, skipping by a search in their bytes all that cannot matter. Thread-safe.
class NodeAuthorizer : public Authorizer {
 public:
  explicit NodeAuthorizer(const ObjectSource& objects);
  /// Not allowed, with an empty reason, for whoever is no node.
  [[nodiscard]] Decision authorize(const Attributes& attributes) const override;

 private:
  [[nodiscard]] Decision by_resource(std::string_view node, const Attributes& wish) const;
  [[nodiscard]] Decision by_rules(const Attributes& wish) const;
  [[nodiscard]] Decision related(std::string_view node, const Attributes& wish) const;
  [[nodiscard]] Decision read_related(std::string_view node, const Attributes& wish, bool list_too) const;
  [[nodiscard]] bool on_own_disk(std::string_view node, const std::string& name) const;
  [[nodiscard]] Decision volumes(std::string_view node, const Attributes& wish) const;
  [[nodiscard]] Decision pods(std::string_view node, const Attributes& wish) const;
  [[nodiscard]] bool has_relation(std::string_view node, const Attributes& wish) const;
  [[nodiscard]] bool uses(std::string_view node, std::string_view ns, std::string_view plural,
                          std::string_view name) const;

  const ObjectSource& objects_;
  PolicyRules rules_;
};

}  // namespace brume::apiserver
