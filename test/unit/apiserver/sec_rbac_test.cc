// Who may what: RBAC, the node authorizer, the default policy, and handing out rights.
#include "../../../src/apiserver/admission.h"
#include "../../../src/apiserver/authz.h"
#include "../../../src/apiserver/rbac_tables.h"
#include "catch.h"
#include "sec_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::testing;

namespace {

constexpr const char* kRole = "clusterroles.rbac.authorization.k8s.io";
constexpr const char* kNsRole = "roles.rbac.authorization.k8s.io";
constexpr const char* kBinding = "clusterrolebindings.rbac.authorization.k8s.io";
constexpr const char* kNsBinding = "rolebindings.rbac.authorization.k8s.io";

Json role(const std::string& ns, const std::string& name, const char* rules) {
  Json out = {{"apiVersion", "rbac.authorization.k8s.io/v1"},
              {"kind", ns.empty() ? "ClusterRole" : "Role"},
              {"metadata", {{"name", name}}},
              {"rules", *parse_json(rules)}};
  if (!ns.empty()) out["metadata"]["namespace"] = ns;
  return out;
}

Json binding(const std::string& ns, const std::string& name, const char* kind, const std::string& role_name,
             const char* subject) {
  Json out = {{"apiVersion", "rbac.authorization.k8s.io/v1"},
              {"kind", ns.empty() ? "ClusterRoleBinding" : "RoleBinding"},
              {"metadata", {{"name", name}}},
              {"roleRef", {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", kind}, {"name", role_name}}},
              {"subjects", Json::array({*parse_json(subject)})}};
  if (!ns.empty()) out["metadata"]["namespace"] = ns;
  return out;
}

bool may(const Authorizer& authorizer, const Attributes& attributes) {
  return authorizer.authorize(attributes).allowed;
}

Attributes path(User who, std::string verb, std::string where) {
  Attributes out;
  out.user = std::move(who);
  out.verb = std::move(verb);
  out.is_resource = false;
  out.path = std::move(where);
  return out;
}

}  // namespace

TEST_CASE("rbac: rules match as they are written") {
  FakeObjects objects;
  const ChainAuthorizer authz(objects);
  objects.put(kRole, role("", "r", R"([{"verbs":["get","list"],"apiGroups":[""],"resources":["pods","pods/log"]},
    {"verbs":["*"],"apiGroups":["apps"],"resources":["*/scale"]},
    {"verbs":["update"],"apiGroups":[""],"resources":["configmaps"],"resourceNames":["one"]},
    {"verbs":["get"],"nonResourceURLs":["/logs/*","/version"]}])"));
  objects.put(kBinding, binding("", "b", "ClusterRole", "r", R"({"kind":"User","name":"jane"})"));
  const User jane = user("jane");
  CHECK(may(authz, wish(jane, "get", "pods", "any", "x")));
  CHECK(may(authz, wish(jane, "list", "pods")));
  CHECK(may(authz, wish(jane, "get", "pods/log", "any", "x")));
  CHECK_FALSE(may(authz, wish(jane, "get", "pods/exec", "any", "x")));
  CHECK_FALSE(may(authz, wish(jane, "delete", "pods", "any", "x")));
  CHECK_FALSE(may(authz, wish(jane, "get", "pods.metrics.k8s.io", "any", "x")));
  CHECK(may(authz, wish(jane, "patch", "deployments.apps/scale", "any", "x")));
  CHECK_FALSE(may(authz, wish(jane, "patch", "deployments.apps", "any", "x")));
  CHECK(may(authz, wish(jane, "update", "configmaps", "any", "one")));
  CHECK_FALSE(may(authz, wish(jane, "update", "configmaps", "any", "two")));
  CHECK_FALSE(may(authz, wish(jane, "update", "configmaps", "any", "")));
  CHECK(may(authz, path(jane, "get", "/logs/a/b")));
  CHECK(may(authz, path(jane, "get", "/version")));
  CHECK_FALSE(may(authz, path(jane, "get", "/versions")));
  CHECK_FALSE(may(authz, path(jane, "post", "/version")));
  CHECK_FALSE(may(authz, wish(user("joe"), "get", "pods", "any", "x")));
  CHECK(authz.authorize(wish(jane, "list", "pods")).reason ==
        "RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"r\" to User \"jane\"");
  // What changes is seen at once.
  objects.remove(kBinding, "/b");
  CHECK_FALSE(may(authz, wish(jane, "list", "pods")));
}

TEST_CASE("rbac: role bindings stay in their namespace") {
  FakeObjects objects;
  const ChainAuthorizer authz(objects);
  objects.put(kRole,
              role("", "r",
                   R"([{"verbs":["*"],"apiGroups":["*"],"resources":["*"]},{"verbs":["*"],"nonResourceURLs":["*"]}])"));
  objects.put(kNsRole, role("a", "local", R"([{"verbs":["get"],"apiGroups":[""],"resources":["secrets"]}])"));
  objects.put(kNsBinding,
              binding("a", "all", "ClusterRole", "r", R"({"kind":"ServiceAccount","name":"robot","namespace":"b"})"));
  objects.put(kNsBinding, binding("a", "loc", "Role", "local", R"({"kind":"Group","name":"dev"})"));
  objects.put(kNsBinding, binding("b", "other", "Role", "local", R"({"kind":"Group","name":"dev"})"));
  const User robot = user("system:serviceaccount:b:robot");
  CHECK(may(authz, wish(robot, "delete", "deployments.apps", "a", "x")));
  CHECK_FALSE(may(authz, wish(robot, "get", "deployments.apps", "b", "x")));
  CHECK_FALSE(may(authz, wish(robot, "list", "pods")));
  CHECK_FALSE(may(authz, path(robot, "get", "/metrics")));
  const User dev = user("d", {"dev"});
  CHECK(may(authz, wish(dev, "get", "secrets", "a", "x")));
  CHECK_FALSE(may(authz, wish(dev, "get", "secrets", "b", "x")));  // namespace b has no such Role
}

TEST_CASE("rbac: the default policy") {
  FakeObjects objects;
  objects.put_defaults();
  const ChainAuthorizer authz(objects);
  const User root = user("root", {"system:masters"});
  const User nobody = user("system:anonymous", {"system:unauthenticated"});
  const User jane = user("jane");
  CHECK(may(authz, wish(root, "delete", "nodes", "", "n")));
  CHECK(may(authz, path(root, "post", "/anything")));
  for (const auto* open : {"/healthz", "/livez", "/readyz", "/version"}) CHECK(may(authz, path(nobody, "get", open)));
  for (const auto* shut : {"/metrics", "/api", "/openapi/v3", "/apis/apps"}) {
    CHECK_FALSE(may(authz, path(nobody, "get", shut)));
  }
  CHECK(may(authz, path(jane, "get", "/apis/apps")));
  CHECK(may(authz, path(jane, "get", "/openapi/v3")));
  CHECK_FALSE(may(authz, path(jane, "get", "/metrics")));
  CHECK_FALSE(may(authz, wish(jane, "list", "pods", "default")));
  CHECK(may(authz, wish(jane, "create", "selfsubjectaccessreviews.authorization.k8s.io")));
  CHECK(may(authz, path(user("system:serviceaccount:a:b", {"system:serviceaccounts"}), "get", "/openid/v1/jwks")));

  objects.put(kNsBinding, binding("team", "v", "ClusterRole", "view", R"({"kind":"User","name":"vera"})"));
  objects.put(kNsBinding, binding("team", "e", "ClusterRole", "edit", R"({"kind":"User","name":"ed"})"));
  objects.put(kNsBinding, binding("team", "a", "ClusterRole", "admin", R"({"kind":"User","name":"ada"})"));
  struct Row {
    const char *verb, *resource;
    bool view, edit, admin;
  };
  for (const auto& row :
       {Row{"list", "pods", true, true, true}, Row{"get", "pods/log", true, true, true},
        Row{"get", "secrets", false, true, true}, Row{"create", "deployments.apps", false, true, true},
        Row{"create", "pods/exec", false, true, true}, Row{"create", "serviceaccounts/token", false, true, true},
        Row{"create", "roles.rbac.authorization.k8s.io", false, false, true},
        Row{"update", "resourcequotas", false, false, false}, Row{"delete", "namespaces", false, false, false},
        Row{"list", "endpointslices.discovery.k8s.io", true, true, true}}) {
    INFO(row.verb << " " << row.resource);
    CHECK(may(authz, wish(user("vera"), row.verb, row.resource, "team", "x")) == row.view);
    CHECK(may(authz, wish(user("ed"), row.verb, row.resource, "team", "x")) == row.edit);
    CHECK(may(authz, wish(user("ada"), row.verb, row.resource, "team", "x")) == row.admin);
  }
  // A custom role that asks to be part of view is, without any controller.
  Json extra = role("", "more-view", R"([{"verbs":["get"],"apiGroups":["x.example"],"resources":["things"]}])");
  extra["metadata"]["labels"] = {{"rbac.authorization.k8s.io/aggregate-to-view", "true"}};
  objects.put(kRole, extra);
  CHECK(may(authz, wish(user("vera"), "get", "things.x.example", "team", "x")));
  CHECK(may(authz, wish(user("ada"), "get", "things.x.example", "team", "x")));
}

TEST_CASE("rbac: refusals read as Kubernetes writes them") {
  CHECK(forbidden_error(wish(user("u"), "get", "pods", "n", "x"), {}).message ==
        "pods \"x\" is forbidden: User \"u\" cannot get resource \"pods\" in API group \"\" in the namespace \"n\"");
  CHECK(forbidden_error(wish(user("u"), "create", "pods/exec", "n", "x"), {false, "no"}).message ==
        "pods \"x\" is forbidden: User \"u\" cannot create resource \"pods/exec\" in API group \"\" in the namespace "
        "\"n\": no");
  CHECK(forbidden_error(wish(user("u"), "list", "deployments.apps"), {}).message ==
        "deployments.apps is forbidden: User \"u\" cannot list resource \"deployments\" in API group \"apps\" at the "
        "cluster scope");
  CHECK(forbidden_error(path(user("u"), "get", "/metrics"), {}).message ==
        "forbidden: User \"u\" cannot get path \"/metrics\"");
}

TEST_CASE("node authorizer: a node reads what its pods use") {
  FakeObjects objects;
  const NodeAuthorizer authz(objects);
  objects.put(
      "pods",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"a"},"spec":{"nodeName":"n1","serviceAccountName":"sa",
    "imagePullSecrets":[{"name":"pull"}],
    "initContainers":[{"name":"i","env":[{"name":"E","valueFrom":{"configMapKeyRef":{"name":"cm-env","key":"k"}}}]}],
    "containers":[{"name":"c","envFrom":[{"secretRef":{"name":"sec-from"}}]}],
    "volumes":[{"name":"v","secret":{"secretName":"sec-vol"}},
               {"name":"w","projected":{"sources":[{"configMap":{"name":"cm-proj"}},{"secret":{"name":"sec-proj"}}]}},
               {"name":"d","persistentVolumeClaim":{"claimName":"claim"}},{"name":"tmp","ephemeral":{}}]}})");
  objects.put(
      "pods",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"q","namespace":"a"},"spec":{"nodeName":"n2","containers":[],
    "volumes":[{"name":"v","secret":{"secretName":"theirs"}},{"name":"n1","emptyDir":{}}]}})");
  objects.put(
      "persistentvolumes",
      R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pv"},"spec":{"claimRef":{"namespace":"a","name":"claim"}}})");
  const User n1 = node("n1");
  for (const auto* name : {"pull", "sec-from", "sec-vol", "sec-proj"})
    CHECK(may(authz, wish(n1, "get", "secrets", "a", name)));
  for (const auto* name : {"cm-env", "cm-proj"}) CHECK(may(authz, wish(n1, "watch", "configmaps", "a", name)));
  CHECK(may(authz, wish(n1, "get", "persistentvolumeclaims", "a", "claim")));
  CHECK(may(authz, wish(n1, "get", "persistentvolumeclaims", "a", "p-tmp")));
  CHECK(may(authz, wish(n1, "get", "persistentvolumes", "", "pv")));
  CHECK(may(authz, wish(n1, "create", "serviceaccounts/token", "a", "sa")));
  CHECK(may(authz, wish(n1, "get", "pods", "a", "p")));

  CHECK(authz.authorize(wish(n1, "get", "secrets", "a", "theirs")).reason ==
        "no relationship found between node 'n1' and this object");
  CHECK_FALSE(may(authz, wish(n1, "get", "secrets", "b", "pull")));
  CHECK_FALSE(may(authz, wish(n1, "list", "secrets", "a")));
  CHECK_FALSE(may(authz, wish(n1, "list", "secrets")));
  CHECK_FALSE(may(authz, wish(n1, "update", "secrets", "a", "pull")));
  CHECK_FALSE(may(authz, wish(n1, "get", "configmaps", "a", "pull")));  // a secret's name is no config map's
  CHECK_FALSE(may(authz, wish(n1, "create", "serviceaccounts/token", "a", "other")));
  CHECK_FALSE(may(authz, wish(n1, "create", "serviceaccounts", "a", "sa")));
  CHECK_FALSE(may(authz, wish(n1, "get", "pods", "a", "q")));
  CHECK_FALSE(may(authz, wish(node("n2"), "get", "persistentvolumes", "", "pv")));
  objects.remove("pods", "a/p");
  CHECK_FALSE(may(authz, wish(n1, "get", "secrets", "a", "pull")));
}

TEST_CASE("node authorizer: a node sees the volumes on its own disk, and may let them go") {
  FakeObjects objects;
  const NodeAuthorizer authz(objects);
  objects.put(
      "persistentvolumes",
      R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"mine","labels":{"brume.dev/node":"n1"},
          "annotations":{"pv.kubernetes.io/provisioned-by":"brume.dev/local-path"}},
          "spec":{"local":{"path":"/var/lib/brume/storage/mine_a_c"}}})");
  // The label alone makes no volume the built-in provisioner's.
  objects.put("persistentvolumes", R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"labelled",
    "labels":{"brume.dev/node":"n1"}},"spec":{"local":{"path":"/srv/x"}}})");
  objects.put("persistentvolumes", R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"network",
    "labels":{"brume.dev/node":"n1"},"annotations":{"pv.kubernetes.io/provisioned-by":"brume.dev/local-path"}},
    "spec":{"csi":{"driver":"d","volumeHandle":"h","nodeStageSecretRef":{"name":"s","namespace":"a"}}}})");
  const User n1 = node("n1");
  Attributes list = wish(n1, "list", "persistentvolumes");
  CHECK_FALSE(may(authz, list));
  list.label_selector = "brume.dev/node=n1";
  CHECK(may(authz, list));
  list.verb = "watch";
  CHECK(may(authz, list));
  for (const auto* bad : {"", "brume.dev/node=n2", "brume.dev/node!=n1", "brume.dev/nodes=n1", "a=b"}) {
    list.label_selector = bad;
    CHECK_FALSE(may(authz, list));
  }
  for (const auto* verb : {"get", "update", "patch"}) {
    CHECK(may(authz, wish(n1, verb, "persistentvolumes", "", "mine")));
    CHECK_FALSE(may(authz, wish(node("n2"), verb, "persistentvolumes", "", "mine")));
    CHECK_FALSE(may(authz, wish(n1, verb, "persistentvolumes", "", "labelled")));
    CHECK_FALSE(may(authz, wish(n1, verb, "persistentvolumes", "", "network")));
  }
  for (const auto* verb : {"create", "delete", "deletecollection"}) {
    CHECK_FALSE(may(authz, wish(n1, verb, "persistentvolumes", "", "mine")));
  }
  CHECK_FALSE(may(authz, wish(n1, "update", "persistentvolumes/status", "", "mine")));
}

TEST_CASE("node authorizer: a node writes itself") {
  FakeObjects objects;
  const NodeAuthorizer authz(objects);
  const User n1 = node("n1");
  CHECK(may(authz, wish(n1, "create", "nodes")));
  CHECK(may(authz, wish(n1, "patch", "nodes/status", "", "n1")));
  CHECK(may(authz, wish(n1, "get", "nodes", "", "n1")));
  CHECK_FALSE(may(authz, wish(n1, "get", "nodes", "", "n2")));
  CHECK_FALSE(may(authz, wish(n1, "list", "nodes")));
  CHECK_FALSE(may(authz, wish(n1, "delete", "nodes", "", "n1")));
  CHECK(may(authz, wish(n1, "create", "leases.coordination.k8s.io", "kube-node-lease")));
  CHECK(may(authz, wish(n1, "update", "leases.coordination.k8s.io", "kube-node-lease", "n1")));
  CHECK_FALSE(may(authz, wish(n1, "update", "leases.coordination.k8s.io", "kube-node-lease", "n2")));
  CHECK_FALSE(may(authz, wish(n1, "get", "leases.coordination.k8s.io", "kube-system", "n1")));
  CHECK_FALSE(may(authz, wish(n1, "list", "leases.coordination.k8s.io", "kube-node-lease")));
  CHECK(may(authz, wish(n1, "patch", "pods/status", "a", "p")));
  CHECK_FALSE(may(authz, wish(n1, "create", "pods/exec", "a", "p")));
  CHECK_FALSE(may(authz, wish(n1, "update", "pods", "a", "p")));
  CHECK(may(authz, wish(n1, "list", "services")));
  CHECK(may(authz, wish(n1, "create", "events", "a")));
  CHECK_FALSE(may(authz, wish(n1, "list", "deployments.apps")));

  Attributes list = wish(n1, "list", "pods");
  CHECK_FALSE(may(authz, list));
  for (const auto* good : {"spec.nodeName=n1", "spec.nodeName==n1", "metadata.name=x, spec.nodeName=n1"}) {
    list.field_selector = good;
    CHECK(may(authz, list));
  }
  for (const auto* bad : {"", "spec.nodeName=n2", "spec.nodeName!=n1", "spec.nodeNames=n1", "spec.nodeName=n1x"}) {
    list.field_selector = bad;
    CHECK_FALSE(may(authz, list));
  }
  // The name alone does not make a node, nor does the group.
  CHECK_FALSE(may(authz, wish(user("system:node:n1"), "get", "nodes", "", "n1")));
  CHECK_FALSE(may(authz, wish(user("n1", {"system:nodes"}), "get", "nodes", "", "n1")));
}

TEST_CASE("rbac: nobody hands out more than he holds") {
  FakeObjects objects;
  objects.put_defaults();
  const ChainAuthorizer authz(objects);
  FakeClock clock;
  const AdmissionChain chain(objects, authz, clock, false);
  objects.put("namespaces", R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"team"}})");
  objects.put(kNsBinding, binding("team", "a", "ClusterRole", "admin", R"({"kind":"User","name":"ada"})"));
  objects.put(kRole, role("", "escalator",
                          R"([{"verbs":["escalate"],"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles"]},
    {"verbs":["bind"],"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"],"resourceNames":["cluster-admin"]}])"));
  objects.put(kNsBinding, binding("team", "esc", "ClusterRole", "escalator", R"({"kind":"User","name":"eve"})"));
  const auto write = [&](const char* resource, const User& who, Json object, const Json* old = nullptr) {
    AdmissionRequest request;
    request.operation = old != nullptr ? AdmissionRequest::Operation::kUpdate : AdmissionRequest::Operation::kCreate;
    request.resource = &api::res(resource);
    request.ns = str(at(object, "metadata"), "namespace");
    request.name = str(at(object, "metadata"), "name");
    request.object = &object;
    request.old_object = old;
    request.user = &who;
    const auto status = chain.validate_now(request);
    return status ? std::string("accepted") : status.error().message;
  };
  const User ada = user("ada");
  const User eve = user("eve");
  const Json small = role("team", "r", R"([{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}])");
  const Json large = role("team", "r", R"([{"verbs":["get","create"],"apiGroups":[""],"resources":["pods","nodes"]}])");
  CHECK(write(kNsRole, ada, small) == "accepted");
  CHECK(write(kNsRole, ada, large) ==
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ada\" (groups=[\"system:authenticated\"]) is "
        "attempting to "
        "grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\", "
        "\"create\"]}");
  CHECK(write(kNsRole, ada, large, &large) == "accepted");  // nothing new is given
  CHECK(write(kNsRole, ada, large, &small) != "accepted");
  CHECK(write(kNsRole, eve, large) == "accepted");
  CHECK(write(kNsRole, user("root", {"system:masters"}), large) == "accepted");
  const auto bind = [&](const char* name) {
    return binding("team", "b", "ClusterRole", name, R"({"kind":"User","name":"x"})");
  };
  CHECK(write(kNsBinding, ada, bind("view")) == "accepted");
  CHECK(write(kNsBinding, ada, bind("cluster-admin")) != "accepted");
  CHECK(write(kNsBinding, eve, bind("cluster-admin")) == "accepted");
  CHECK(write(kNsBinding, eve, bind("view")) != "accepted");
  CHECK(write(kNsBinding, ada, bind("absent")) == "clusterroles.rbac.authorization.k8s.io \"absent\" not found");
  Json aggregate = role("", "agg", "[]");
  aggregate["aggregationRule"] = {{"clusterRoleSelectors", Json::array({Json::object()})}};
  CHECK(write(kRole, ada, aggregate).find("must have cluster-admin privileges to use the aggregationRule") !=
        std::string::npos);
}

TEST_CASE("bootstrap: objects are whole and mended without loss") {
  const auto objects = bootstrap_objects();
  CHECK(objects.size() > 130);
  std::size_t namespaces = 0;
  for (const auto& object : objects) {
    const auto* resource = api::find_kind(str(object, "apiVersion"), str(object, "kind"));
    REQUIRE(resource != nullptr);
    CHECK(resource->namespaced == at(object, "metadata").contains("namespace"));
    if (str(object, "kind") == "Namespace") ++namespaces;
  }
  CHECK(namespaces == 4);

  const Json desired = defaults::role_object(defaults::cluster_roles()[0]);
  CHECK(reconcile_default(desired, desired).action == Reconciled::Action::kKeep);
  Json changed = desired;
  changed["rules"] = *parse_json(R"([{"verbs":["get"],"apiGroups":["mine"],"resources":["x"]}])");
  changed["metadata"]["labels"] = {{"mine", "1"}};
  const auto mended = reconcile_default(changed, desired);
  REQUIRE(mended.action == Reconciled::Action::kUpdate);
  CHECK(at(*mended.object, "rules").size() == 1 + at(desired, "rules").size());
  CHECK(str(at(*mended.object, "metadata", "labels"), "mine") == "1");
  CHECK(str(at(*mended.object, "metadata", "labels"), "kubernetes.io/bootstrapping") == "rbac-defaults");
  changed["metadata"]["annotations"] = {{"rbac.authorization.kubernetes.io/autoupdate", "false"}};
  CHECK(reconcile_default(changed, desired).action == Reconciled::Action::kKeep);

  const Json grant = defaults::binding_object({.name = "b", .role = "r", .subjects = "user=u sa=ns/robot"});
  Json fewer = grant;
  fewer["subjects"].erase(1);
  CHECK(at(*reconcile_default(fewer, grant).object, "subjects").size() == 2);
  Json other = grant;
  other["roleRef"]["name"] = "else";
  CHECK(reconcile_default(other, grant).action == Reconciled::Action::kReplace);
}
