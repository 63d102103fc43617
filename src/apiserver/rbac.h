// RBAC: rules as rbac.authorization.k8s.io/v1 writes them, who holds which, and what they allow.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "access.h"

namespace brume::apiserver {

/// One rbac/v1 PolicyRule.
struct PolicyRule {
  std::vector<std::string> verbs, api_groups, resources, resource_names, non_resource_urls;
  bool operator==(const PolicyRule&) const = default;

  [[nodiscard]] bool allows(const Attributes& attributes) const;
  /// Whether whoever holds this rule holds all of `other`, a rule of single values (see rules_covered).
  [[nodiscard]] bool covers(const PolicyRule& other) const;
  /// {APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}: how errors show a rule.
  [[nodiscard]] std::string text() const;
};
using PolicyRules = std::vector<PolicyRule>;

/// The rules of a Role's or ClusterRole's `rules` array.
[[nodiscard]] PolicyRules parse_rules(const Json& rules);
[[nodiscard]] Json rules_to_json(const PolicyRules& rules);

/// Which of `wanted` a holder of `held` lacks, as rules of one group and resource each, verbs gathered; empty: none.
[[nodiscard]] PolicyRules missing_rules(const PolicyRules& held, const PolicyRules& wanted);

/// Authorises by the Role, ClusterRole and binding objects of an ObjectSource. What they say is compiled once for each
/// of their versions. ClusterRoles that aggregate get the rules of the roles they select at compile time, so they are
/// right even before any controller wrote those rules down. Thread-safe.
class Rbac : public Authorizer {
 public:
  explicit Rbac(const ObjectSource& objects);
  [[nodiscard]] Decision authorize(const Attributes& attributes) const override;
  /// All rules that the user holds in the namespace ("": cluster-wide ones only).
  [[nodiscard]] PolicyRules rules_for(const User& user, std::string_view ns) const;
  /// The rules of a role that exists now; null when there is none. `ns` is empty for a ClusterRole.
  [[nodiscard]] std::shared_ptr<const PolicyRules> role_rules(std::string_view ns, std::string_view name) const;

 private:
  using Rules = std::shared_ptr<const PolicyRules>;
  struct Grant {
    std::string ns;  ///< "": everywhere
    Rules rules;
    std::string reason;
  };
  struct Parsed {
    api::ObjectPtr object;  ///< keeps the key's address from being used again
    Rules rules;
  };
  struct Compiled {
    std::array<std::int64_t, 4> versions{};
    std::unordered_map<const api::Object*, Parsed> parsed;
    std::unordered_map<std::string, Rules> roles;                ///< by ns/name; ClusterRoles by /name
    std::unordered_map<std::string, std::vector<Grant>> grants;  ///< by "u:" user or "g:" group
  };
  [[nodiscard]] std::shared_ptr<const Compiled> compiled() const;
  void compile_roles(Compiled& into, const Compiled* previous) const;
  void compile_bindings(Compiled& into) const;

  const ObjectSource& objects_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const Compiled> current_;
};

}  // namespace brume::apiserver
