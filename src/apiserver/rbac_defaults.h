// The roles and bindings that every Kubernetes cluster starts with, as tables.
// Lists are words separated by single spaces; the group "core" stands for the API group "".
// Source: the policy that Kubernetes 1.36 bootstraps with its default feature gates.
#pragma once

#include <span>
#include <string_view>

namespace brume::apiserver::defaults {

inline constexpr std::string_view kRead = "get list watch";
inline constexpr std::string_view kWrite = "create delete deletecollection patch update";
inline constexpr std::string_view kReadWrite = "create delete deletecollection get list patch update watch";
inline constexpr std::string_view kReadUpdate = "get list patch update watch";

struct Rule {
  std::string_view verbs = {};
  std::string_view groups = {};
  std::string_view resources = {};
  std::string_view names = {};  ///< resourceNames
  std::string_view urls = {};   ///< nonResourceURLs
};

struct Role {
  std::string_view ns = {};  ///< empty: a ClusterRole
  std::string_view name = {};
  std::string_view aggregate_to = {};  ///< labels rbac.authorization.k8s.io/aggregate-to-<each word>
  std::string_view aggregates = {};    ///< has an aggregationRule that selects that label
  std::span<const Rule> rules = {};
};

struct Binding {
  std::string_view ns = {};  ///< empty: a ClusterRoleBinding
  std::string_view name = {};
  std::string_view role = {};      ///< empty: as `name`; a ClusterRole, or with `ns` a Role of that namespace
  std::string_view subjects = {};  ///< user=NAME, group=NAME, sa=NAMESPACE/NAME
};

/// User-facing and system roles.
[[nodiscard]] std::span<const Role> cluster_roles();
[[nodiscard]] std::span<const Binding> cluster_bindings();
[[nodiscard]] std::span<const Role> namespace_roles();
[[nodiscard]] std::span<const Binding> namespace_bindings();
/// system:controller:NAME; each is bound to the service account kube-system/NAME.
[[nodiscard]] std::span<const Role> controller_roles();
/// What every node may do: the rules of system:node, which the node authorizer applies after narrowing.
[[nodiscard]] std::span<const Rule> node_rules();

}  // namespace brume::apiserver::defaults
