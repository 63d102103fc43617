// The objects that a cluster starts with, and how they are kept up to date.
#include <algorithm>

#include "brume/apiserver/security.h"
#include "brume/base/json.h"
#include "brume/base/task.h"
#include "rbac_tables.h"

namespace brume::apiserver {
namespace {

Json namespace_object(std::string_view name) {
  // The API server labels every namespace with its name; here it is spelled out so that objects are whole.
  return {{"apiVersion", "v1"},
          {"kind", "Namespace"},
          {"metadata", {{"name", name}, {"labels", {{"kubernetes.io/metadata.name", name}}}}},
          {"spec", {{"finalizers", Json::array({"kubernetes"})}}}};
}

Json priority_class(std::string_view name, std::int64_t value, std::string_view description) {
  return {{"apiVersion", "scheduling.k8s.io/v1"},
          {"kind", "PriorityClass"},
          {"metadata", {{"name", name}}},
          {"value", value},
          {"description", description}};
}

void add_missing(Json& list, const Json& wanted, bool& changed) {
  if (!wanted.is_array()) return;
  if (!list.is_array()) list = Json::array();
  for (const auto& item : wanted) {
    if (std::ranges::find(list, item) != list.end()) continue;
    list.push_back(item);
    changed = true;
  }
}

void add_missing_rules(Json& object, const Json& desired, bool& changed) {
  const PolicyRules held = parse_rules(at(object, "rules"));
  for (const auto& rule : at(desired, "rules")) {
    if (missing_rules(held, parse_rules(Json::array({rule}))).empty()) continue;
    if (!object["rules"].is_array()) object["rules"] = Json::array();
    object["rules"].push_back(rule);
    changed = true;
  }
}

void add_missing_metadata(Json& object, const Json& desired, bool& changed) {
  for (const auto* map : {"labels", "annotations"}) {
    for (const auto& [key, value] : at(desired, "metadata", map).items()) {
      Json& into = object["metadata"][map];
      if (into.is_object() && into.contains(key)) continue;
      into[key] = value;
      changed = true;
    }
  }
}

/// The outcome that the tasks of one wave share.
struct Wave {
  explicit Wave(const Executor& executor) : done(executor) {}
  Event done;
  std::size_t pending = 0;
  Status status;
};

Task<Status> ensure(BootstrapTarget& target, const Json& desired) {
  const auto* resource = api::find_kind(str(desired, "apiVersion"), str(desired, "kind"));
  if (resource == nullptr) co_return fail(Code::kInternal, "no resource of kind " + std::string(str(desired, "kind")));
  const std::string ns(str(at(desired, "metadata"), "namespace"));
  const std::string name(str(at(desired, "metadata"), "name"));
  const auto existing = co_await target.get(*resource, ns, name);
  if (!existing) {
    if (existing.error().code != Code::kNotFound) co_return fail(existing.error());
    const auto created = co_await target.create(*resource, ns, desired);
    if (!created && created.error().code != Code::kAlreadyExists) co_return fail(created.error());
    co_return Status{};
  }
  const Reconciled mended = reconcile_default((*existing)->parse(), desired);
  if (mended.action == Reconciled::Action::kKeep) co_return Status{};
  if (mended.action == Reconciled::Action::kUpdate) {
    co_return co_await target.update(*resource, ns, name, *mended.object);
  }
  BRUME_CO_CHECK(co_await target.remove(*resource, ns, name));
  co_return co_await target.create(*resource, ns, *mended.object);
}

Task<void> ensure_in(std::shared_ptr<Wave> wave, BootstrapTarget* target, Json desired) {
  auto status = co_await ensure(*target, desired);
  if (!status && wave->status) {
    wave->status = fail(wrap(status.error(), "making " + std::string(str(desired, "kind")) + " " +
                                                 std::string(str(at(desired, "metadata"), "name"))));
  }
  if (--wave->pending == 0) wave->done.notify();
}

Task<Status> run_wave(BootstrapTarget& target, std::vector<Json> objects) {
  const Executor executor = co_await boost::asio::this_coro::executor;
  TaskGroup group(executor);
  auto wave = std::make_shared<Wave>(executor);
  wave->pending = objects.size();
  for (auto& object : objects) group.spawn("bootstrap", ensure_in(wave, &target, std::move(object)));
  if (!objects.empty()) co_await wave->done.wait();
  co_await group.stop();
  co_return wave->status;
}

}  // namespace

std::vector<Json> bootstrap_objects() {
  std::vector<Json> out;
  for (const auto* name : {"default", "kube-system", "kube-public", "kube-node-lease"})
    out.push_back(namespace_object(name));
  // Values and words: the pod priority page of the Kubernetes documentation.
  out.push_back(
      priority_class("system-cluster-critical", 2'000'000'000,
                     "Used for system critical pods that must run in the cluster, but can be moved to another "
                     "node if necessary."));
  out.push_back(priority_class("system-node-critical", 2'000'001'000,
                               "Used for system critical pods that must not be moved from their current node."));
  for (const auto& role : defaults::cluster_roles()) out.push_back(defaults::role_object(role));
  for (const auto& role : defaults::namespace_roles()) out.push_back(defaults::role_object(role));
  for (const auto& binding : defaults::cluster_bindings()) out.push_back(defaults::binding_object(binding));
  for (const auto& binding : defaults::namespace_bindings()) out.push_back(defaults::binding_object(binding));
  for (const auto& role : defaults::controller_roles()) {
    out.push_back(defaults::role_object(role));
    constexpr std::string_view kPrefix = "system:controller:";
    const std::string subject = "sa=kube-system/" + std::string(role.name.substr(kPrefix.size()));
    out.push_back(defaults::binding_object({.name = role.name, .subjects = subject}));
  }
  // A node that joins with the token asks for its certificate under this role.
  out.push_back(defaults::binding_object({.name = "brume:node-bootstrapper",
                                          .role = "system:node-bootstrapper",
                                          .subjects = "group=system:bootstrappers"}));
  return out;
}

Reconciled reconcile_default(const Json& existing, const Json& desired) {
  constexpr std::string_view kAutoUpdate = "rbac.authorization.kubernetes.io/autoupdate";
  const bool is_rbac = str(desired, "apiVersion").starts_with("rbac.authorization.k8s.io/");
  if (!is_rbac || str(at(existing, "metadata", "annotations"), kAutoUpdate) == "false") return {};
  if (desired.contains("roleRef") && at(existing, "roleRef") != at(desired, "roleRef")) {
    return {Reconciled::Action::kReplace, std::make_shared<Json>(desired)};
  }
  auto object = std::make_shared<Json>(existing);
  bool changed = false;
  add_missing_metadata(*object, desired, changed);
  if (desired.contains("roleRef")) {
    add_missing((*object)["subjects"], at(desired, "subjects"), changed);
  } else {
    add_missing_rules(*object, desired, changed);
  }
  const Json& selectors = at(desired, "aggregationRule", "clusterRoleSelectors");
  if (selectors.is_array()) add_missing((*object)["aggregationRule"]["clusterRoleSelectors"], selectors, changed);
  if (!changed) return {};
  return {Reconciled::Action::kUpdate, std::move(object)};
}

Task<Status> bootstrap(BootstrapTarget& target) {
  std::vector<Json> namespaces;
  std::vector<Json> rest;
  for (auto& object : bootstrap_objects()) {
    (str(object, "kind") == "Namespace" ? namespaces : rest).push_back(std::move(object));
  }
  BRUME_CO_CHECK(co_await run_wave(target, std::move(namespaces)));
  co_return co_await run_wave(target, std::move(rest));
}

}  // namespace brume::apiserver
