#include "core_fixture.h"

using namespace brume;
using namespace brume::apiserver;
using namespace brume::apiserver::core_test;

TEST_CASE("create fills metadata and refuses doubles") {
  Fixture f;
  f.run([&]() -> Task<void> {
    auto made = co_await f.registry->create(config_maps(), "default", config_map("a"), {});
    REQUIRE(made);
    CHECK((*made)->name() == "a");
    CHECK((*made)->ns() == "default");
    CHECK((*made)->uid().size() == 36);
    CHECK((*made)->resource_version() > 0);
    CHECK(!(*made)->creation_timestamp().empty());
    CHECK((*made)->kind() == "ConfigMap");
    // Read your writes.
    CHECK(f.registry->get(config_maps(), "default", "a").value() == *made);
    auto again = co_await f.registry->create(config_maps(), "default", config_map("a"), {});
    CHECK(again.error().code == Code::kAlreadyExists);
    CHECK(why(again) == "configmaps \"a\" already exists");
    CHECK(why(f.registry->get(deployments(), "default", "x")) == "deployments.apps \"x\" not found");

    Json generated = config_map("");
    generated["metadata"] = json(R"({"generateName":"web-"})");
    auto first = co_await f.registry->create(config_maps(), "default", generated, {});
    auto second = co_await f.registry->create(config_maps(), "default", generated, {});
    REQUIRE(first);
    REQUIRE(second);
    CHECK((*first)->name().starts_with("web-"));
    CHECK((*first)->name().size() == 9);
    CHECK((*first)->name() != (*second)->name());

    Json stale = config_map("b");
    stale["metadata"]["resourceVersion"] = "7";
    CHECK(why(co_await f.registry->create(config_maps(), "default", stale, {})) ==
          "resourceVersion should not be set on objects to be created");
    Json elsewhere = config_map("b");
    elsewhere["metadata"]["namespace"] = "other";
    CHECK(why(co_await f.registry->create(config_maps(), "default", elsewhere, {})) ==
          "the namespace of the provided object does not match the namespace sent on the request");
  });
}

TEST_CASE("update: conflicts, no-op, immutable system metadata, generation") {
  Fixture f;
  f.run([&]() -> Task<void> {
    Json deployment = json(R"({"metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},
      "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
    auto made = co_await f.registry->create(deployments(), "default", deployment, {});
    REQUIRE(made);
    CHECK((*made)->generation() == 1);
    Json body = (*made)->parse();
    CHECK(at(body, "status").is_object());

    auto same = co_await f.registry->update(deployments(), "default", "d", "", body, {});
    REQUIRE(same);
    CHECK((*same)->resource_version() == (*made)->resource_version());

    body["spec"]["replicas"] = 3;
    body["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z";
    body["status"] = json(R"({"replicas":9})");
    auto updated = co_await f.registry->update(deployments(), "default", "d", "", body, {});
    REQUIRE(updated);
    CHECK((*updated)->generation() == 2);
    CHECK((*updated)->creation_timestamp() == (*made)->creation_timestamp());
    CHECK(num(at((*updated)->parse(), "status"), "replicas") == 0);

    auto late = co_await f.registry->update(deployments(), "default", "d", "", body, {});
    CHECK(late.error().code == Code::kConflict);
    CHECK(why(late) ==
          "Operation cannot be fulfilled on deployments.apps \"d\": the object has been modified; please apply your "
          "changes to the latest version and try again");

    Json status = (*updated)->parse();
    status["status"] = json(R"({"replicas":3,"observedGeneration":2})");
    status["spec"]["replicas"] = 7;
    auto reported = co_await f.registry->update(deployments(), "default", "d", "status", status, {});
    REQUIRE(reported);
    CHECK((*reported)->generation() == 2);
    CHECK(num(at((*reported)->parse(), "spec"), "replicas") == 3);
    CHECK(num(at((*reported)->parse(), "status"), "replicas") == 3);

    Json unconditional = (*reported)->parse();
    unconditional["metadata"].erase("resourceVersion");
    unconditional["metadata"]["labels"]["x"] = "y";
    auto forced = co_await f.registry->update(deployments(), "default", "d", "", unconditional, {});
    REQUIRE(forced);
    CHECK((*forced)->label("x") == "y");
    unconditional["metadata"]["uid"] = "other";
    auto other = co_await f.registry->update(deployments(), "default", "d", "", unconditional, {});
    CHECK(other.error().code == Code::kConflict);

    auto missing = co_await f.registry->update(deployments(), "default", "none", "", deployment, {});
    CHECK(missing.error().code == Code::kBadRequest);  // names differ
    deployment["metadata"]["name"] = "none";
    missing = co_await f.registry->update(deployments(), "default", "none", "", deployment, {});
    CHECK(missing.error().code == Code::kNotFound);
  });
}

TEST_CASE("a daemon set counts changes of its template where clients cannot") {
  constexpr const char* kCount = "deprecated.daemonset.template.generation";
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto& daemons = api::res("daemonsets.apps");
    const auto count = [&](const api::ObjectPtr& object) {
      return std::string(str(at(object->parse(), "metadata", "annotations"), kCount));
    };
    Json body = json(R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},
      "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
    auto made = co_await f.registry->create(daemons, "default", body, {});
    REQUIRE(made);
    CHECK(count(*made) == "1");
    body = (*made)->parse();
    body["metadata"]["annotations"][kCount] = "9";
    body["spec"]["minReadySeconds"] = 3;
    auto updated = co_await f.registry->update(daemons, "default", "d", "", body, {});
    REQUIRE(updated);
    CHECK(count(*updated) == "1");
    CHECK((*updated)->generation() == 2);
    body = (*updated)->parse();
    body["metadata"].erase("annotations");
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "j";
    updated = co_await f.registry->update(daemons, "default", "d", "", body, {});
    REQUIRE(updated);
    CHECK(count(*updated) == "2");
    CHECK((*updated)->generation() == 3);
    body = (*updated)->parse();
    body["metadata"].erase("annotations");
    body["status"]["numberReady"] = 1;
    updated = co_await f.registry->update(daemons, "default", "d", "status", body, {});
    REQUIRE(updated);
    CHECK(count(*updated) == "2");
    CHECK((*updated)->generation() == 3);
  });
}

TEST_CASE("patch: three types, names stay, resourceVersion as precondition") {
  Fixture f;
  f.run([&]() -> Task<void> {
    REQUIRE(co_await f.registry->create(pods(), "default", pod("p", "n", R"({"a":"1"})"), {}));
    auto merged = co_await f.registry->patch(pods(), "default", "p", "", PatchType::kMerge,
                                             json(R"({"metadata":{"labels":{"a":null,"b":"2"}}})"), {});
    REQUIRE(merged);
    CHECK((*merged)->label("a").empty());
    CHECK((*merged)->label("b") == "2");
    auto strategic = co_await f.registry->patch(pods(), "default", "p", "", PatchType::kStrategic,
                                                json(R"({"spec":{"containers":[{"name":"c","image":"new"}]}})"), {});
    REQUIRE(strategic);
    const Json spec = at((*strategic)->parse(), "spec");
    REQUIRE(spec["containers"].size() == 1);
    CHECK(spec["containers"][0]["image"] == "new");
    CHECK((*strategic)->generation() == 2);
    auto pointed = co_await f.registry->patch(pods(), "default", "p", "", PatchType::kJson,
                                              json(R"([{"op":"add","path":"/metadata/labels/c","value":"3"}])"), {});
    REQUIRE(pointed);
    CHECK((*pointed)->label("c") == "3");
    auto bad = co_await f.registry->patch(pods(), "default", "p", "", PatchType::kJson,
                                          json(R"([{"op":"test","path":"/metadata/labels/c","value":"9"}])"), {});
    CHECK(bad.error().code == Code::kInvalid);
    auto stale = co_await f.registry->patch(pods(), "default", "p", "", PatchType::kMerge,
                                            json(R"({"metadata":{"resourceVersion":"1","labels":{"z":"z"}}})"), {});
    CHECK(stale.error().code == Code::kConflict);
    auto renamed = co_await f.registry->patch(pods(), "default", "p", "", PatchType::kMerge,
                                              json(R"({"metadata":{"name":"q"}})"), {});
    CHECK(!renamed);
    auto status = co_await f.registry->patch(pods(), "default", "p", "status", PatchType::kStrategic,
                                             json(R"({"status":{"phase":"Running"},"spec":{"nodeName":"other"}})"), {});
    REQUIRE(status);
    CHECK(str(at((*status)->parse(), "status"), "phase") == "Running");
    CHECK(str(at((*status)->parse(), "spec"), "nodeName") == "n");
  });
}

TEST_CASE("field validation: ignore, warn, strict") {
  Fixture f;
  f.run([&]() -> Task<void> {
    Json body = config_map("a");
    body["metadata"]["foo"] = 1;
    body["bar"] = 2;
    WriteContext strict;
    strict.validation = FieldValidation::kStrict;
    strict.duplicate_fields = {"duplicate field \"data.k\""};
    auto refused = co_await f.registry->create(config_maps(), "default", body, strict);
    CHECK(refused.error().code == Code::kBadRequest);
    CHECK(why(refused) ==
          "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: "
          "unknown field \"bar\", unknown field \"metadata.foo\", duplicate field \"data.k\"");
    std::vector<std::string> warnings;
    WriteContext warn;
    warn.validation = FieldValidation::kWarn;
    warn.warnings = &warnings;
    REQUIRE(co_await f.registry->create(config_maps(), "default", body, warn));
    CHECK(warnings.size() == 2);
    Json wrong = config_map("b");
    wrong["data"]["k"] = 5;
    auto mistyped = co_await f.registry->create(config_maps(), "default", wrong, {});
    CHECK(mistyped.error().code == Code::kBadRequest);
    CHECK(why(mistyped).starts_with(
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal"));
  });
}

TEST_CASE("dry run changes nothing") {
  Fixture f;
  f.run([&]() -> Task<void> {
    WriteContext dry;
    dry.dry_run = true;
    auto made = co_await f.registry->create(config_maps(), "default", config_map("a"), dry);
    REQUIRE(made);
    CHECK(!f.registry->get(config_maps(), "default", "a"));
    REQUIRE(co_await f.registry->create(config_maps(), "default", config_map("a"), {}));
    CHECK(!co_await f.registry->create(config_maps(), "default", config_map("a"), dry));
    auto patched = co_await f.registry->patch(config_maps(), "default", "a", "", PatchType::kMerge,
                                              json(R"({"data":{"k":"2"}})"), dry);
    REQUIRE(patched);
    CHECK(str(at((*patched)->parse(), "data"), "k") == "2");
    REQUIRE(co_await f.registry->remove(config_maps(), "default", "a", {}, dry));
    auto kept = f.registry->get(config_maps(), "default", "a");
    REQUIRE(kept);
    CHECK(str(at((*kept)->parse(), "data"), "k") == "1");
  });
}

TEST_CASE("delete: finalizers, propagation, preconditions") {
  Fixture f;
  f.run([&]() -> Task<void> {
    Json held = config_map("held");
    held["metadata"]["finalizers"] = Json::array({"example.com/x"});
    REQUIRE(co_await f.registry->create(config_maps(), "default", held, {}));
    auto marked = co_await f.registry->remove(config_maps(), "default", "held", {}, {});
    REQUIRE(marked);
    CHECK(!marked->gone);
    CHECK(marked->object->deleting());
    CHECK(num(at(marked->object->parse(), "metadata"), "deletionGracePeriodSeconds", -1) == 0);
    const auto revision = marked->object->resource_version();
    marked = co_await f.registry->remove(config_maps(), "default", "held", {}, {});
    REQUIRE(marked);
    CHECK(marked->object->resource_version() == revision);
    REQUIRE(co_await f.registry->patch(config_maps(), "default", "held", "", PatchType::kMerge,
                                       json(R"({"metadata":{"finalizers":null}})"), {}));
    CHECK(!f.registry->get(config_maps(), "default", "held"));

    REQUIRE(co_await f.registry->create(config_maps(), "default", config_map("fg"), {}));
    DeleteRequest foreground{.propagation_policy = "Foreground"};
    marked = co_await f.registry->remove(config_maps(), "default", "fg", foreground, {});
    REQUIRE(marked);
    CHECK(!marked->gone);
    CHECK(marked->object->finalizers() == std::vector<std::string>{"foregroundDeletion"});
    DeleteRequest orphan{.propagation_policy = "Orphan"};
    marked = co_await f.registry->remove(config_maps(), "default", "fg", orphan, {});
    CHECK(marked.value().object->finalizers() == std::vector<std::string>{"orphan"});
    DeleteRequest nonsense{.propagation_policy = "Sideways"};
    CHECK((co_await f.registry->remove(config_maps(), "default", "fg", nonsense, {})).error().code == Code::kInvalid);

    REQUIRE(co_await f.registry->create(config_maps(), "default", config_map("p"), {}));
    DeleteRequest wrong_uid{.uid = "nope"};
    auto refused = co_await f.registry->remove(config_maps(), "default", "p", wrong_uid, {});
    CHECK(refused.error().code == Code::kConflict);
    DeleteRequest wrong_revision{.resource_version = "1"};
    CHECK(!co_await f.registry->remove(config_maps(), "default", "p", wrong_revision, {}));
    auto gone = co_await f.registry->remove(config_maps(), "default", "p", {}, {});
    CHECK(gone.value().gone);
    CHECK(why(co_await f.registry->remove(config_maps(), "default", "p", {}, {})) == "configmaps \"p\" not found");
  });
}

TEST_CASE("pods are deleted gracefully") {
  Fixture f;
  f.run([&]() -> Task<void> {
    REQUIRE(co_await f.registry->create(pods(), "default", pod("unscheduled"), {}));
    CHECK((co_await f.registry->remove(pods(), "default", "unscheduled", {}, {})).value().gone);

    REQUIRE(co_await f.registry->create(pods(), "default", pod("running", "n1"), {}));
    auto marked = co_await f.registry->remove(pods(), "default", "running", {}, {});
    REQUIRE(marked);
    CHECK(!marked->gone);
    Json metadata = at(marked->object->parse(), "metadata");
    CHECK(num(metadata, "deletionGracePeriodSeconds") == 30);
    CHECK(num(metadata, "generation") == 2);
    const auto ends = parse_rfc3339(str(metadata, "deletionTimestamp"));
    REQUIRE(ends);
    const auto left = *ends - system_clock().now();
    CHECK(left > std::chrono::seconds(25));
    CHECK(left <= std::chrono::seconds(30));
    // Longer: nothing happens. Shorter: the time moves.
    const auto revision = marked->object->resource_version();
    marked = co_await f.registry->remove(pods(), "default", "running", DeleteRequest{.grace_period_seconds = 60}, {});
    CHECK(marked.value().object->resource_version() == revision);
    marked = co_await f.registry->remove(pods(), "default", "running", DeleteRequest{.grace_period_seconds = 5}, {});
    REQUIRE(marked);
    metadata = at(marked->object->parse(), "metadata");
    CHECK(num(metadata, "deletionGracePeriodSeconds") == 5);
    CHECK(*ends - *parse_rfc3339(str(metadata, "deletionTimestamp")) == std::chrono::seconds(25));
    // The node agent's last word.
    marked = co_await f.registry->remove(pods(), "default", "running", DeleteRequest{.grace_period_seconds = 0}, {});
    CHECK(marked.value().gone);
    CHECK(!f.registry->get(pods(), "default", "running"));

    REQUIRE(co_await f.registry->create(pods(), "default", pod("done", "n1"), {}));
    REQUIRE(co_await f.registry->patch(pods(), "default", "done", "status", PatchType::kMerge,
                                       json(R"({"status":{"phase":"Succeeded"}})"), {}));
    CHECK((co_await f.registry->remove(pods(), "default", "done", {}, {})).value().gone);
  });
}

TEST_CASE("a namespace goes when its finalizer does") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto& namespaces = api::res("namespaces");
    auto made = co_await f.registry->create(namespaces, "", json(R"({"metadata":{"name":"team"}})"), {});
    REQUIRE(made);
    CHECK((*made)->label("kubernetes.io/metadata.name") == "team");
    CHECK(str(at((*made)->parse(), "status"), "phase") == "Active");
    auto marked = co_await f.registry->remove(namespaces, "", "team", {}, {});
    REQUIRE(marked);
    CHECK(!marked->gone);
    Json body = marked->object->parse();
    CHECK(str(at(body, "status"), "phase") == "Terminating");
    body["spec"]["finalizers"] = Json::array();
    REQUIRE(co_await f.registry->update(namespaces, "", "team", "finalize", body, {}));
    CHECK(!f.registry->get(namespaces, "", "team"));
  });
}

TEST_CASE("binding and eviction") {
  Fixture f;
  f.run([&]() -> Task<void> {
    REQUIRE(co_await f.registry->create(pods(), "default", pod("p", "", R"({"app":"x"})"), {}));
    const Json binding = json(R"({"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}})");
    REQUIRE(co_await f.registry->create_subresource(pods(), "default", "p", "binding", binding, {}));
    CHECK((*f.registry->get(pods(), "default", "p"))->generation() == 1);  // a node is no new spec
    Json bound = f.registry->get(pods(), "default", "p").value()->parse();
    CHECK(str(at(bound, "spec"), "nodeName") == "n1");
    CHECK(at(bound, "status", "conditions").at(0)["type"] == "PodScheduled");
    auto twice = co_await f.registry->create_subresource(pods(), "default", "p", "binding", binding, {});
    CHECK(twice.error().code == Code::kConflict);
    CHECK(why(twice) ==
          "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"");

    const Json ready = json(R"({"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}})");
    REQUIRE(co_await f.registry->patch(pods(), "default", "p", "status", PatchType::kStrategic, ready, {}));
    const auto& budgets = api::res("poddisruptionbudgets.policy");
    REQUIRE(co_await f.registry->create(
        budgets, "default",
        json(R"({"metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"x"}}}})"), {}));
    const Json eviction = json(R"({"metadata":{"name":"p"}})");
    auto refused = co_await f.registry->create_subresource(pods(), "default", "p", "eviction", eviction, {});
    CHECK(refused.error().code == Code::kTooManyRequests);
    CHECK(refused.error().causes.at(0).reason == "DisruptionBudget");
    REQUIRE(co_await f.registry->patch(
        budgets, "default", "b", "status", PatchType::kMerge,
        json(
            R"({"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}})"),
        {}));
    REQUIRE(co_await f.registry->create_subresource(pods(), "default", "p", "eviction", eviction, {}));
    auto evicted = f.registry->get(pods(), "default", "p");
    REQUIRE(evicted);
    CHECK((*evicted)->deleting());
    CHECK(num(at(f.registry->get(budgets, "default", "b").value()->parse(), "status"), "disruptionsAllowed") == 0);
  });
}

TEST_CASE("binding changes the node, the condition and what metadata the binding brings, and nothing else") {
  Fixture f;
  f.run([&]() -> Task<void> {
    auto made = co_await f.registry->create(pods(), "default", pod("p", "", R"({"app":"x"})"), {});
    const Json nominate = json(R"({"status":{"nominatedNodeName":"n0"}})");
    REQUIRE(co_await f.registry->patch(pods(), "default", "p", "status", PatchType::kMerge, nominate, {}));
    const Json binding = json(
        R"({"metadata":{"annotations":{"note":"\"a\""},"labels":{"app":"y","b":"c"}},"target":{"kind":"Node","name":"n1"}})");
    WriteContext dry;
    dry.dry_run = true;
    REQUIRE(co_await f.registry->create_subresource(pods(), "default", "p", "binding", binding, dry));
    CHECK(!at(f.registry->get(pods(), "default", "p").value()->parse(), "spec").contains("nodeName"));
    REQUIRE(co_await f.registry->create_subresource(pods(), "default", "p", "binding", binding, {}));
    const auto bound = f.registry->get(pods(), "default", "p").value();
    Json wanted = made.value()->parse();
    wanted["metadata"]["resourceVersion"] = std::to_string(bound->resource_version());
    wanted["metadata"]["annotations"] = {{"note", "\"a\""}};
    wanted["metadata"]["labels"] = {{"app", "y"}, {"b", "c"}};
    wanted["spec"]["nodeName"] = "n1";
    wanted["status"]["conditions"] = at(bound->parse(), "status", "conditions");
    CHECK(bound->bytes() == dump_json(wanted));
    CHECK(bound->label("app") == "y");
    auto gone = co_await f.registry->create_subresource(pods(), "default", "q", "binding", binding, {});
    CHECK(gone.error().code == Code::kNotFound);
  });
}

TEST_CASE("scale reads and writes a deployment") {
  Fixture f;
  f.run([&]() -> Task<void> {
    REQUIRE(co_await f.registry->create(
        deployments(), "default",
        json(
            R"({"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":
        {"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})"),
        {}));
    Json scale = f.registry->get_scale(deployments(), "default", "d").value();
    CHECK(num(at(scale, "spec"), "replicas") == 2);
    CHECK(str(at(scale, "status"), "selector") == "a=b");
    scale["spec"]["replicas"] = 5;
    REQUIRE(co_await f.registry->update_scale(deployments(), "default", "d", scale, {}));
    auto object = f.registry->get(deployments(), "default", "d").value();
    CHECK(num(at(object->parse(), "spec"), "replicas") == 5);
    CHECK(object->generation() == 2);
    auto stale = co_await f.registry->update_scale(deployments(), "default", "d", scale, {});
    CHECK(stale.error().code == Code::kConflict);
    auto negative = co_await f.registry->patch_scale(deployments(), "default", "d", PatchType::kMerge,
                                                     json(R"({"spec":{"replicas":-1}})"), {});
    CHECK(negative.error().code == Code::kInvalid);
    REQUIRE(co_await f.registry->patch_scale(deployments(), "default", "d", PatchType::kMerge,
                                             json(R"({"spec":{"replicas":0}})"), {}));
    CHECK(num(at(f.registry->get(deployments(), "default", "d").value()->parse(), "spec"), "replicas", -1) == 0);
  });
}

TEST_CASE("pods get a phase and a quality of service") {
  Fixture f;
  f.run([&]() -> Task<void> {
    auto plain = co_await f.registry->create(pods(), "default", pod("a"), {});
    CHECK(at(plain.value()->parse(), "status", "qosClass") == "BestEffort");
    CHECK(at(plain.value()->parse(), "status", "phase") == "Pending");
    Json some = pod("b");
    some["spec"]["containers"][0]["resources"] = json(R"({"requests":{"cpu":"100m"}})");
    CHECK(at((co_await f.registry->create(pods(), "default", some, {})).value()->parse(), "status", "qosClass") ==
          "Burstable");
    Json full = pod("c");
    full["spec"]["containers"][0]["resources"] = json(R"({"limits":{"cpu":"1","memory":"1Gi"}})");
    CHECK(at((co_await f.registry->create(pods(), "default", full, {})).value()->parse(), "status", "qosClass") ==
          "Guaranteed");
  });
}

TEST_CASE("volumes say since when they are in their phase, and claims where their data come from") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const auto& volumes = api::res("persistentvolumes");
    const auto& claims = api::res("persistentvolumeclaims");
    auto made = co_await f.registry->create(
        volumes, "",
        json(R"({"metadata":{"name":"v"},"spec":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},
                 "hostPath":{"path":"/a"}},"status":{"phase":"Bound"}})"),
        {});
    REQUIRE(made);
    Json value = (*made)->parse();
    CHECK(str(at(value, "status"), "phase") == "Pending");
    CHECK_FALSE(str(at(value, "status"), "lastPhaseTransitionTime").empty());
    value["status"] = json(R"({"phase":"Pending"})");
    auto same = co_await f.registry->update(volumes, "", "v", "status", value, {});
    REQUIRE(same);
    CHECK(at((*same)->parse(), "status") == at((*made)->parse(), "status"));
    value = (*same)->parse();
    value["status"] = json(R"({"phase":"Available","lastPhaseTransitionTime":"2020-01-01T00:00:00Z"})");
    auto own = co_await f.registry->update(volumes, "", "v", "status", value, {});
    REQUIRE(own);
    CHECK(str(at((*own)->parse(), "status"), "lastPhaseTransitionTime") == "2020-01-01T00:00:00Z");
    value = (*own)->parse();
    value["status"]["phase"] = "Bound";
    auto moved = co_await f.registry->update(volumes, "", "v", "status", value, {});
    REQUIRE(moved);
    CHECK(str(at((*moved)->parse(), "status"), "lastPhaseTransitionTime") != "2020-01-01T00:00:00Z");

    const auto claim = [&](const char* name, const char* sources) {
      Json out = json(R"({"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}})");
      out["metadata"]["name"] = name;
      out["spec"].update(json(sources));
      return f.registry->create(claims, "default", out, {});
    };
    auto copy = co_await claim("copy", R"({"dataSource":{"kind":"PersistentVolumeClaim","name":"other"}})");
    REQUIRE(copy);
    CHECK(str(at((*copy)->parse(), "spec", "dataSourceRef"), "name") == "other");
    CHECK(str(at((*copy)->parse(), "status"), "phase") == "Pending");
    auto odd = co_await claim("odd", R"({"dataSource":{"apiGroup":"example.com","kind":"Thing","name":"t"}})");
    REQUIRE(odd);
    CHECK_FALSE(at((*odd)->parse(), "spec").contains("dataSource"));
    auto populated =
        co_await claim("populated", R"({"dataSourceRef":{"apiGroup":"example.com","kind":"Thing","name":"t"}})");
    REQUIRE(populated);
    CHECK(str(at((*populated)->parse(), "spec", "dataSource"), "kind") == "Thing");
    auto far =
        co_await claim("far", R"({"dataSourceRef":{"kind":"PersistentVolumeClaim","name":"t","namespace":"x"}})");
    REQUIRE(far);
    CHECK_FALSE(at((*far)->parse(), "spec").contains("dataSourceRef"));
  });
}

TEST_CASE("events are one store under two APIs") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const api::Resource* view = api::find_resource("events.k8s.io", "v1", "events");
    REQUIRE(view != nullptr);
    Json event = json(R"({"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"p","namespace":"default"},
      "reason":"Started","message":"hello","type":"Normal","count":1,"source":{"component":"kubelet"}})");
    REQUIRE(co_await f.registry->create(api::res("events"), "default", event, {}));
    auto seen = f.registry->get(*view, "default", "e");
    REQUIRE(seen);
    CHECK((*seen)->api_version() == "events.k8s.io/v1");
    CHECK(str((*seen)->parse(), "note") == "hello");
    CHECK(str(at((*seen)->parse(), "regarding"), "name") == "p");
    REQUIRE(co_await f.registry->patch(*view, "default", "e", "", PatchType::kMerge, json(R"({"note":"bye"})"), {}));
    CHECK(str(f.registry->get(api::res("events"), "default", "e").value()->parse(), "message") == "bye");
  });
}

TEST_CASE("autoscalers are one store under two versions") {
  Fixture f;
  f.run([&]() -> Task<void> {
    const api::Resource& v2 = api::res("horizontalpodautoscalers.autoscaling");
    const api::Resource& v1 = *api::find_resource("autoscaling", "v1", "horizontalpodautoscalers");
    CHECK(v2.version == "v2");
    Json old = json(R"({"metadata":{"name":"h"},"spec":{"maxReplicas":3,
      "scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}})");
    const auto made = co_await f.registry->create(v1, "default", old, {});
    REQUIRE(why(made) == "");
    CHECK(at((*made)->parse(), "spec", "targetCPUUtilizationPercentage") == 80);
    const Json seen = f.registry->get(v2, "default", "h").value()->parse();
    CHECK(str(seen, "apiVersion") == "autoscaling/v2");
    CHECK(at(seen, "spec", "metrics")[0]["resource"]["target"]["averageUtilization"] == 80);
    CHECK(at(seen, "spec", "minReplicas") == 1);
    // What v2 says of the status is v1's too, and a change by v1 keeps what v1 has no field for.
    REQUIRE(co_await f.registry->patch(v2, "default", "h", "", PatchType::kMerge,
                                       json(R"({"spec":{"behavior":{"scaleDown":{"selectPolicy":"Disabled"}}}})"), {}));
    REQUIRE(co_await f.registry->patch(
        v2, "default", "h", "status", PatchType::kMerge,
        json(
            R"({"status":{"currentReplicas":1,"desiredReplicas":2,"conditions":[{"type":"AbleToScale","status":"True"}]}})"),
        {}));
    CHECK(at(f.registry->get(v1, "default", "h").value()->parse(), "status", "desiredReplicas") == 2);
    const auto moved = co_await f.registry->patch(v1, "default", "h", "", PatchType::kMerge,
                                                  json(R"({"spec":{"targetCPUUtilizationPercentage":30}})"), {});
    REQUIRE(why(moved) == "");
    const Json now = f.registry->get(v2, "default", "h").value()->parse();
    CHECK(at(now, "spec", "metrics")[0]["resource"]["target"]["averageUtilization"] == 30);
    CHECK(str(at(now, "spec", "behavior", "scaleDown"), "selectPolicy") == "Disabled");
    CHECK(at(now, "status", "conditions").size() == 1);
    CHECK_FALSE(at(now, "metadata").contains("annotations"));
    CHECK(str(at(now, "metadata"), "uid") == str(at(seen, "metadata"), "uid"));
    // Annotations are no way from the status to the spec, nor back.
    const char* kFaster = R"({"metadata":{"annotations":{
      "autoscaling.alpha.kubernetes.io/behavior":"{\"ScaleDown\":{\"SelectPolicy\":\"Max\"}}",
      "autoscaling.alpha.kubernetes.io/conditions":"[{\"type\":\"AbleToScale\",\"status\":\"False\"}]"}}})";
    REQUIRE(co_await f.registry->patch(v1, "default", "h", "status", PatchType::kMerge, json(kFaster), {}));
    REQUIRE(co_await f.registry->patch(v1, "default", "h", "status", PatchType::kMerge,
                                       json(R"({"status":{"desiredReplicas":3}})"), {}));
    const auto told = [&] { return f.registry->get(v2, "default", "h").value()->parse(); };
    CHECK(str(at(told(), "spec", "behavior", "scaleDown"), "selectPolicy") == "Disabled");
    CHECK(at(told(), "status", "conditions")[0]["status"] == "False");
    REQUIRE(co_await f.registry->patch(v1, "default", "h", "", PatchType::kMerge, json(R"({"metadata":{"annotations":{
      "autoscaling.alpha.kubernetes.io/conditions":null}}})"),
                                       {}));
    CHECK(at(told(), "status", "conditions").size() == 1);
    const auto bad = co_await f.registry->patch(v1, "default", "h", "", PatchType::kMerge,
                                                json(R"({"spec":{"targetCPUUtilizationPercentage":0}})"), {});
    REQUIRE_FALSE(bad);
    CHECK(bad.error().message ==
          "HorizontalPodAutoscaler.autoscaling \"h\" is invalid: spec.metrics[0].resource.target.averageUtilization: "
          "Invalid value: 0: must be greater than 0");
    REQUIRE(co_await f.registry->remove(v1, "default", "h", {}, {}));
    CHECK_FALSE(f.registry->get(v2, "default", "h"));
  });
}

TEST_CASE("deletecollection takes what matches") {
  Fixture f;
  f.run([&]() -> Task<void> {
    for (const char* name : {"a", "b", "c"}) {
      Json body = config_map(name);
      if (name[0] != 'c') body["metadata"]["labels"]["go"] = "yes";
      REQUIRE(co_await f.registry->create(config_maps(), "default", body, {}));
    }
    ListQuery which{.ns = "default", .label_selector = "go=yes"};
    auto gone = co_await f.registry->remove_collection(config_maps(), which, {}, {});
    CHECK(gone.value().items.size() == 2);
    CHECK(f.registry->object_count(config_maps()) == 1);
  });
}
