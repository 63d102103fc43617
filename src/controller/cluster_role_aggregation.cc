// ClusterRoles with an aggregationRule: their rules are those of the ClusterRoles that it selects.
#include <algorithm>

#include "brume/api/selector.h"
#include "make.h"

namespace brume::controller {

namespace {

class ClusterRoleAggregation final : public Controller {
 public:
  explicit ClusterRoleAggregation(Context& context)
      : Controller(context, "clusterrole-aggregation-controller"),
        roles_(use("clusterroles.rbac.authorization.k8s.io")) {
    // Any role may be selected by any other.
    const auto changed = [this](const ObjectPtr&) { queue_.add(std::string(kAll)); };
    roles_.add_handler({.added = changed,
                        .updated = [changed](const ObjectPtr&, const ObjectPtr& now) { changed(now); },
                        .deleted = changed});
  }

 private:
  static constexpr std::string_view kAll = "all";

  Task<Status> reconcile(std::string /*key*/) override {
    Status failed;
    for (const auto& role : roles_.list()) {
      if (role->bytes().find("\"aggregationRule\"") == std::string::npos) continue;
      auto done = co_await mend(role);
      if (!done && failed) failed = done;
    }
    co_return failed;
  }

  Task<Status> mend(ObjectPtr role) {
    Json value = role->parse();
    if (!at(value, "aggregationRule").is_object()) co_return Status{};
    BRUME_CO_TRY(Json rules, gather(*role, at(value, "aggregationRule", "clusterRoleSelectors")));
    const Json& present = at(value, "rules");
    if (rules == present || (rules.empty() && present.is_null())) co_return Status{};
    value["rules"] = std::move(rules);
    auto done = co_await client().update(roles_.resource(), "", role->name(), std::move(value));
    if (!done && done.error().code != Code::kNotFound) co_return fail(done.error());
    co_return Status{};
  }

  // In the order of the selectors and then of the roles' names, each rule once.
  [[nodiscard]] Result<Json> gather(const Object& role, const Json& selectors) const {
    Json rules = Json::array();
    for (const Json& one : selectors) {
      BRUME_TRY(const auto selector, api::LabelSelector::from_json(one));
      for (const auto& other : roles_.list()) {
        if (other->name() == role.name() || !selector.matches(other->labels())) continue;
        const Json value = other->parse();
        for (const Json& rule : at(value, "rules")) {
          if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(rule);
        }
      }
    }
    return rules;
  }

  Informer& roles_;
};

}  // namespace

std::unique_ptr<Controller> make_cluster_role_aggregation(Context& context) {
  return std::make_unique<ClusterRoleAggregation>(context);
}

}  // namespace brume::controller
