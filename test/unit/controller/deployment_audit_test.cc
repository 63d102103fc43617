// Corners of Deployments: names, histories, rollback by annotation, and what is taken over from ReplicaSets.
#include "bench.h"
#include "brume/base/strings.h"
#include "deployment_util.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const std::vector<Bench::Make> kBoth = {make_deployment, make_replicaset};

Json status(const Bench& b, const std::string& name = "web") {
  return at(b.api.json("deployments.apps", "default", name), "status");
}
Json annotations(const Bench& b, std::string_view resource, const std::string& name) {
  return at(b.api.json(resource, "default", name), "metadata", "annotations");
}
void set_image(Bench& b, const std::string& image) {
  b.edit("deployments.apps", "default", "web",
         [&](Json& d) { d["spec"]["template"]["spec"]["containers"][0]["image"] = image; });
}
std::string image(const Bench& b) {
  return std::string(
      str(at(b.api.json("deployments.apps", "default", "web"), "spec", "template", "spec", "containers")[0], "image"));
}
void roll_back(Bench& b, const std::string& revision) {
  b.edit("deployments.apps", "default", "web",
         [&](Json& d) { d["metadata"]["annotations"]["deprecated.deployment.rollback.to"] = revision; });
}

}  // namespace

TEST_CASE("a ReplicaSet's name fits whatever the Deployment is called") {
  Bench b(kBoth);
  const std::string name(250, 'd');
  b.run([&]() -> Task<void> {
    Json d = deployment("web", 1);
    d["metadata"]["name"] = name;
    b.api.seed("deployments.apps", std::move(d));
    co_await b.rest();
    const auto sets = b.api.all("replicasets.apps");
    REQUIRE(sets.size() == 1);
    const std::string hash(sets[0]->label("pod-template-hash"));
    CHECK(sets[0]->name().size() == 253);
    CHECK(sets[0]->name() == name.substr(0, 253 - 1 - hash.size()) + "-" + hash);
  });
}

TEST_CASE("the history of revisions is cut at two thousand characters") {
  Json set = {{"metadata", {{"annotations", Json::object()}}}};
  for (int revision = 1; revision <= 700; ++revision) CHECK(raise_revision(set, revision));
  const std::string history(str(at(set, "metadata", "annotations"), kRevisionHistory));
  CHECK(history.size() <= 2000);
  CHECK(history.size() > 1990);
  CHECK(history.ends_with(",698,699"));
  CHECK_FALSE(history.starts_with("1,"));
  CHECK(str(at(set, "metadata", "annotations"), kRevision) == "700");
  CHECK_FALSE(raise_revision(set, 700));
}

TEST_CASE("a revision that is no number stays as it is") {
  Json set = {{"metadata", {{"annotations", {{std::string(kRevision), "seven"}}}}}};
  CHECK_FALSE(raise_revision(set, 3));
  CHECK(str(at(set, "metadata", "annotations"), kRevision) == "seven");
}

TEST_CASE("sizes in annotations that make no sense are passed over") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 3));
    co_await b.converge();
    const std::string set = b.api.all("replicasets.apps")[0]->name();
    b.edit("replicasets.apps", "default", set,
           [](Json& rs) { rs["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] = "-7"; });
    set_image(b, "web:2");
    co_await b.converge(30);
    CHECK(num(status(b), "updatedReplicas") == 3);  // a rollout, not an endless scaling
    CHECK(num(status(b), "replicas") == 3);
  });
}

TEST_CASE("a rollback by annotation takes the revision's template and annotations") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    Json d = deployment("web", 2);
    d["metadata"]["annotations"]["kubernetes.io/change-cause"] = "first";
    b.api.seed("deployments.apps", std::move(d));
    co_await b.converge();
    set_image(b, "web:2");
    b.edit("deployments.apps", "default", "web",
           [](Json& one) { one["metadata"]["annotations"]["kubernetes.io/change-cause"] = "second"; });
    co_await b.converge(30);
    CHECK(image(b) == "web:2");
    roll_back(b, "0");  // the one before
    co_await b.converge(30);
    CHECK(image(b) == "web:1");
    const Json after = annotations(b, "deployments.apps", "web");
    CHECK_FALSE(after.contains("deprecated.deployment.rollback.to"));
    CHECK(str(after, "kubernetes.io/change-cause") == "first");
    CHECK(str(after, "deployment.kubernetes.io/revision") == "3");
    CHECK_FALSE(at(b.api.json("deployments.apps", "default", "web"), "spec", "template", "metadata", "labels")
                    .contains("pod-template-hash"));
    CHECK(b.events("DeploymentRollback") == std::vector<std::string>{"Rolled back deployment \"web\" to revision 1"});
    CHECK(b.api.all("replicasets.apps").size() == 2);
    CHECK(num(status(b), "updatedReplicas") == 2);

    roll_back(b, "2");
    co_await b.converge(30);
    CHECK(image(b) == "web:2");
    roll_back(b, "4");
    co_await b.rest(20);
    CHECK(b.events("DeploymentRollbackTemplateUnchanged") ==
          std::vector<std::string>{"The rollback revision contains the same template as current deployment \"web\""});
    roll_back(b, "99");
    co_await b.rest(20);
    CHECK(b.events("DeploymentRollbackRevisionNotFound") ==
          std::vector<std::string>{"Unable to find the revision to rollback to."});
    CHECK_FALSE(annotations(b, "deployments.apps", "web").contains("deprecated.deployment.rollback.to"));
    roll_back(b, "seven");  // is none
    co_await b.rest(20);
    CHECK(image(b) == "web:2");
  });
}

TEST_CASE("there may be no earlier revision to go back to") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 1));
    co_await b.converge();
    roll_back(b, "0");
    co_await b.rest(20);
    CHECK(b.events("DeploymentRollbackRevisionNotFound") == std::vector<std::string>{"Unable to find last revision."});
    CHECK_FALSE(annotations(b, "deployments.apps", "web").contains("deprecated.deployment.rollback.to"));
  });
}

TEST_CASE("a ReplicaSet's failure is the Deployment's, with its times") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    int tries = 0;
    b.api.react([&tries](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "pods") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota " + std::to_string(++tries)};
    });
    b.api.seed("deployments.apps", deployment("web", 2));
    co_await b.rest();
    const auto set = b.api.all("replicasets.apps")[0]->parse();
    const Json of_set = client::find_condition(at(set, "status"), "ReplicaFailure");
    const Json failure = client::find_condition(status(b), "ReplicaFailure");
    CHECK(str(failure, "reason") == "FailedCreate");
    CHECK(str(failure, "message") == str(of_set, "message"));
    CHECK(str(failure, "lastUpdateTime") == str(of_set, "lastTransitionTime"));
    CHECK(str(failure, "lastTransitionTime") == str(of_set, "lastTransitionTime"));
    b.api.clear_reactors();
    co_await b.rest(40);
    CHECK(client::find_condition(status(b), "ReplicaFailure").is_null());
  });
}

TEST_CASE("a namespace that goes is no fault of the Deployment's") {
  Bench b(kBoth);
  b.run([&]() -> Task<void> {
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "replicasets.apps") return std::nullopt;
      Error error{.code = Code::kForbidden, .message = "because it is being terminated"};
      error.causes.push_back({"NamespaceTerminating", "namespace default is being terminated", "metadata.namespace"});
      return error;
    });
    b.api.seed("deployments.apps", deployment("web", 1));
    co_await b.rest();
    CHECK(b.events("ReplicaSetCreateError").empty());
    CHECK(client::find_condition(status(b), "Progressing").is_null());
  });
}

TEST_CASE("terminating pods are counted when every ReplicaSet counts them") {
  Bench b({make_deployment});
  b.run([&]() -> Task<void> {
    b.api.seed("deployments.apps", deployment("web", 2));
    co_await b.rest();
    const std::string set = b.api.all("replicasets.apps")[0]->name();
    CHECK(num(status(b), "terminatingReplicas", -1) == 0);  // it was never looked at by its controller
    b.api.set_status("replicasets.apps", "default", set, {{"observedGeneration", 1}, {"replicas", 2}});
    co_await b.rest();
    CHECK_FALSE(status(b).contains("terminatingReplicas"));
    b.api.set_status("replicasets.apps", "default", set, {{"observedGeneration", 1}, {"terminatingReplicas", 3}});
    co_await b.rest();
    CHECK(num(status(b), "terminatingReplicas") == 3);
  });
}
