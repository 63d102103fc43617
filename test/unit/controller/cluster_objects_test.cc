// Small controllers: aggregated ClusterRoles, token Secrets.
#include "bench.h"
#include "brume/base/strings.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const char* const kRoles = "clusterroles.rbac.authorization.k8s.io";

Json rule(const char* resource) {
  return {{"apiGroups", Json::array({""})}, {"resources", Json::array({resource})}, {"verbs", Json::array({"get"})}};
}

Json role(const std::string& name, const char* label, Json rules) {
  return {{"metadata", {{"name", name}, {"labels", {{label, "true"}}}}}, {"rules", std::move(rules)}};
}

Json secret(const std::string& name, const std::string& account) {
  return {{"metadata", {{"name", name}, {"annotations", {{"kubernetes.io/service-account.name", account}}}}},
          {"type", "kubernetes.io/service-account-token"}};
}

}  // namespace

TEST_CASE("an aggregated ClusterRole has the rules of those that it selects") {
  Bench b({make_cluster_role_aggregation});
  b.run([&]() -> Task<void> {
    b.api.seed(kRoles, role("b", "to-edit", Json::array({rule("pods"), rule("secrets")})));
    b.api.seed(kRoles, role("a", "to-edit", Json::array({rule("services"), rule("pods")})));
    b.api.seed(kRoles, role("c", "other", Json::array({rule("nodes")})));
    Json edit = role("edit", "to-admin", Json::array());
    edit["aggregationRule"]["clusterRoleSelectors"] = Json::array({{{"matchLabels", {{"to-edit", "true"}}}}});
    b.api.seed(kRoles, edit);
    Json admin = role("admin", "none", Json::array());
    admin["aggregationRule"]["clusterRoleSelectors"] = Json::array({{{"matchLabels", {{"to-admin", "true"}}}}});
    b.api.seed(kRoles, admin);
    co_await b.rest();
    const auto rules = [&](const char* name) { return at(b.api.json(kRoles, "", name), "rules"); };
    CHECK(rules("edit") == Json::array({rule("services"), rule("pods"), rule("secrets")}));
    CHECK(rules("admin") == rules("edit"));
    CHECK(rules("c") == Json::array({rule("nodes")}));
    b.api.erase(kRoles, "", "b");
    co_await b.rest();
    CHECK(rules("edit") == Json::array({rule("services"), rule("pods")}));
    CHECK(rules("admin") == rules("edit"));
    b.edit(kRoles, "", "edit", [](Json& value) { value["rules"] = Json::array({rule("configmaps")}); });
    co_await b.rest();
    CHECK(rules("edit") == Json::array({rule("services"), rule("pods")}));
  });
}

TEST_CASE("a token Secret is filled, and goes with its account") {
  Bench b({make_token_secrets}, {.root_ca_pem = "PEM"});
  b.run([&]() -> Task<void> {
    const auto account = b.api.seed("serviceaccounts", {{"metadata", {{"name", "robot"}}}});
    b.api.seed("secrets", secret("token", "robot"));
    Json opaque = secret("opaque", "robot");
    opaque["type"] = "Opaque";
    b.api.seed("secrets", opaque);
    co_await b.rest();
    const Json filled = b.api.json("secrets", "default", "token");
    CHECK(str(at(filled, "metadata", "annotations"), "kubernetes.io/service-account.uid") == account->uid());
    CHECK(base64_decode(str(at(filled, "data"), "ca.crt")) == "PEM");
    CHECK(base64_decode(str(at(filled, "data"), "namespace")) == "default");
    CHECK(base64_decode(str(at(filled, "data"), "token"))->starts_with("fake-token-of-default-robot"));
    CHECK(at(b.api.json("secrets", "default", "opaque"), "data").is_null());
    CHECK(b.api.count("create", "serviceaccounts", "token") == 1);
    for (const auto& call : b.api.calls()) {
      if (call.subresource != "token") continue;
      CHECK(str(at(call.body, "spec", "boundObjectRef"), "uid") == b.api.find("secrets", "default", "token")->uid());
    }
    // What somebody takes out is put back; a token that is there stays.
    b.edit("secrets", "default", "token", [](Json& value) { value["data"].erase("ca.crt"); });
    co_await b.rest();
    CHECK(at(b.api.json("secrets", "default", "token"), "data") == at(filled, "data"));

    b.api.erase("serviceaccounts", "default", "robot");
    co_await b.rest();
    CHECK(b.api.find("secrets", "default", "token") == nullptr);
    CHECK(b.api.find("secrets", "default", "opaque") != nullptr);
  });
}

TEST_CASE("a token Secret of no account, or of another of the same name, is deleted") {
  Bench b({make_token_secrets});
  b.run([&]() -> Task<void> {
    b.api.seed("serviceaccounts", {{"metadata", {{"name", "robot"}}}});
    b.api.seed("secrets", secret("lost", "nobody"));
    Json old = secret("old", "robot");
    old["metadata"]["annotations"]["kubernetes.io/service-account.uid"] = "another";
    b.api.seed("secrets", old);
    co_await b.rest();
    CHECK(b.api.find("secrets", "default", "lost") == nullptr);
    CHECK(b.api.find("secrets", "default", "old") == nullptr);
  });
}
