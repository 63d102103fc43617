// The chain of authorizers, and the words of a refusal.
#pragma once

#include "access.h"
#include "node_authorizer.h"
#include "rbac.h"

namespace brume::apiserver {

/// system:masters, then the node authorizer, then RBAC: the first that allows decides. Thread-safe.
class ChainAuthorizer : public Authorizer {
 public:
  explicit ChainAuthorizer(const ObjectSource& objects) : rbac_(objects), node_(objects) {}
  [[nodiscard]] Decision authorize(const Attributes& attributes) const override;
  [[nodiscard]] const Rbac& rbac() const { return rbac_; }
  /// What SelfSubjectRulesReview answers: RBAC's rules, and everything for system:masters.
  [[nodiscard]] PolicyRules rules_for(const User& user, std::string_view ns) const;

 private:
  Rbac rbac_;
  NodeAuthorizer node_;
};

/// kForbidden in Kubernetes' words: pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the
/// namespace "n": why.
[[nodiscard]] Error forbidden_error(const Attributes& attributes, const Decision& decision);

}  // namespace brume::apiserver
