#include "statefulset_claims.h"

#include "bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json with_claims(int replicas, const Json& spec = Json::object()) {
  Json set = {{"metadata", {{"name", "db"}}},
              {"spec",
               {{"replicas", replicas},
                {"serviceName", "db"},
                {"podManagementPolicy", "OrderedReady"},
                {"selector", {{"matchLabels", {{"app", "db"}}}}},
                {"updateStrategy", {{"type", "RollingUpdate"}, {"rollingUpdate", {{"partition", 0}}}}},
                {"template", pod_template("db")},
                {"volumeClaimTemplates", Json::array({{{"apiVersion", "v1"},
                                                       {"kind", "PersistentVolumeClaim"},
                                                       {"metadata", {{"name", "data"}, {"labels", {{"tier", "disk"}}}}},
                                                       {"spec", {{"accessModes", Json::array({"ReadWriteOnce"})}}},
                                                       {"status", {{"phase", "Pending"}}}}})}}}};
  set["spec"].merge_patch(spec);
  return set;
}

Json retention(const char* deleted, const char* scaled) {
  return {{"persistentVolumeClaimRetentionPolicy", {{"whenDeleted", deleted}, {"whenScaled", scaled}}}};
}

/// The claim's owners: "StatefulSet/db", "Pod/db-1", ...
std::string owners(const Bench& b, const std::string& claim) {
  std::string out;
  const auto object = b.api.find("persistentvolumeclaims", "default", claim);
  if (!object) return "gone";
  for (const auto& owner : object->owners()) out += (out.empty() ? "" : " ") + owner.kind + "/" + owner.name;
  return out;
}

std::size_t position(const Bench& b, std::string_view verb, std::string_view resource) {
  const auto calls = b.api.calls();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].verb == verb && calls[i].resource == resource) return i;
  }
  return calls.size();
}

}  // namespace

TEST_CASE("a pod's claims are made before it, and its volumes are they") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    Json set = with_claims(2);
    set["spec"]["template"]["spec"]["volumes"] = Json::array(
        {{{"name", "data"}, {"emptyDir", Json::object()}}, {{"name", "tmp"}, {"emptyDir", Json::object()}}});
    b.api.seed("statefulsets.apps", set);
    co_await b.rest();
    const Json claim = b.api.json("persistentvolumeclaims", "default", "data-db-0");
    CHECK(at(claim, "metadata", "labels") == Json{{"tier", "disk"}, {"app", "db"}});
    CHECK(at(claim, "spec", "accessModes") == Json::array({"ReadWriteOnce"}));
    CHECK_FALSE(at(claim, "metadata").contains("ownerReferences"));
    CHECK(position(b, "create", "persistentvolumeclaims") < position(b, "create", "pods"));
    const Json volumes = at(b.api.json("pods", "default", "db-0"), "spec", "volumes");
    REQUIRE(volumes.size() == 2);
    CHECK(str(at(volumes[0], "persistentVolumeClaim"), "claimName") == "data-db-0");
    CHECK(str(volumes[1], "name") == "tmp");
    CHECK(b.events("SuccessfulCreate").front() == "Create Claim data-db-0 Pod db-0 in StatefulSet db success");
    co_await b.converge();
    CHECK(b.api.all("persistentvolumeclaims").size() == 2);
    // Scaled away and back, the pod finds its claim again.
    const auto uid = b.api.find("persistentvolumeclaims", "default", "data-db-1")->uid();
    for (const int replicas : {1, 2}) {
      b.edit("statefulsets.apps", "default", "db", [&](Json& s) { s["spec"]["replicas"] = replicas; });
      co_await b.converge();
    }
    CHECK(b.api.find("persistentvolumeclaims", "default", "data-db-1")->uid() == uid);
    CHECK(owners(b, "data-db-1").empty());
  });
}

TEST_CASE("a claim that is being deleted is waited for") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("persistentvolumeclaims", {{"metadata",
                                           {{"name", "data-db-0"},
                                            {"deletionTimestamp", "2026-01-01T00:00:00Z"},
                                            {"finalizers", Json::array({"kubernetes.io/pvc-protection"})}}}});
    b.api.seed("statefulsets.apps", with_claims(1));
    co_await b.rest();
    CHECK(b.api.all("pods").empty());
    CHECK(b.events("FailedCreate").front() ==
          "Create Pod db-0 in StatefulSet db failed error: pvc data-db-0 is being deleted");
    b.api.erase("persistentvolumeclaims", "default", "data-db-0");
    co_await test::settle(150);  // at once, not after the back-off
    CHECK(b.api.all("pods").size() == 1);
    CHECK(b.api.find("persistentvolumeclaims", "default", "data-db-0"));
  });
}

TEST_CASE("a claim that cannot be made holds up its pod") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "persistentvolumeclaims") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota"};
    });
    b.api.seed("statefulsets.apps", with_claims(1));
    co_await b.rest();
    CHECK(b.api.all("pods").empty());
    const auto events = b.events("FailedCreate");
    CHECK(std::count(events.begin(), events.end(),
                     "Create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: exceeded quota") == 1);
    CHECK(std::count(
              events.begin(), events.end(),
              "Create Pod db-0 in StatefulSet db failed error: failed to create PVC data-db-0: exceeded quota") == 1);
    b.api.clear_reactors();
    co_await b.rest(40);
    CHECK(b.api.all("pods").size() == 1);
  });
}

TEST_CASE("a pending pod whose claim is lost gets a new one") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", with_claims(1));
    co_await b.rest();
    const auto uid = b.api.find("persistentvolumeclaims", "default", "data-db-0")->uid();
    b.api.erase("persistentvolumeclaims", "default", "data-db-0");
    co_await b.rest();
    REQUIRE(b.api.find("persistentvolumeclaims", "default", "data-db-0"));
    CHECK(b.api.find("persistentvolumeclaims", "default", "data-db-0")->uid() != uid);
  });
}

TEST_CASE("whenDeleted lets the claims go with the set, and may be changed later") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", with_claims(2, retention("Delete", "Retain")));
    co_await b.converge();
    CHECK(owners(b, "data-db-0") == "StatefulSet/db");
    CHECK(b.api.find("persistentvolumeclaims", "default", "data-db-0")->owners().front().controller);
    b.edit("statefulsets.apps", "default", "db", [](Json& s) { s["spec"]["replicas"] = 1; });
    co_await b.converge();
    CHECK(owners(b, "data-db-1") == "StatefulSet/db");
    b.edit("statefulsets.apps", "default", "db", [](Json& s) { s["spec"].merge_patch(retention("Retain", "Retain")); });
    co_await b.converge();
    CHECK(owners(b, "data-db-0").empty());
    b.edit("statefulsets.apps", "default", "db", [](Json& s) { s["spec"].merge_patch(retention("Delete", "Delete")); });
    co_await b.converge();
    CHECK(owners(b, "data-db-0") == "StatefulSet/db");
  });
}

TEST_CASE("whenScaled lets a claim go with its pod, and the next pod waits until it is gone") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("statefulsets.apps", with_claims(2, retention("Delete", "Delete")));
    co_await b.converge();
    CHECK(owners(b, "data-db-1") == "StatefulSet/db");
    b.edit("statefulsets.apps", "default", "db", [](Json& s) { s["spec"]["replicas"] = 1; });
    co_await b.rest();
    CHECK(owners(b, "data-db-1") == "Pod/db-1");
    CHECK(owners(b, "data-db-0") == "StatefulSet/db");
    co_await b.converge();
    CHECK_FALSE(b.api.find("pods", "default", "db-1"));
    // The garbage collector has not been here yet.
    b.edit("statefulsets.apps", "default", "db", [](Json& s) { s["spec"]["replicas"] = 2; });
    co_await b.rest(20);
    CHECK_FALSE(b.api.find("pods", "default", "db-1"));
    b.api.erase("persistentvolumeclaims", "default", "data-db-1");
    co_await test::settle(150);
    CHECK(b.api.find("pods", "default", "db-1"));
    CHECK(owners(b, "data-db-1") == "StatefulSet/db");
  });
}

TEST_CASE("a claim that another controls is left to it") {
  Bench b({make_statefulset});
  b.run([&]() -> Task<void> {
    b.api.seed("persistentvolumeclaims", {{"metadata",
                                           {{"name", "data-db-0"},
                                            {"ownerReferences", Json::array({{{"apiVersion", "example.com/v1"},
                                                                              {"kind", "Disk"},
                                                                              {"name", "d"},
                                                                              {"uid", "x"},
                                                                              {"controller", true}}})}}}});
    b.api.seed("statefulsets.apps", with_claims(1, retention("Delete", "Delete")));
    co_await b.converge();
    CHECK(owners(b, "data-db-0") == "Disk/d");
    const auto events = b.events("ConflictingController");
    REQUIRE_FALSE(events.empty());
    CHECK(events.front().starts_with("PersistentVolumeClaim data-db-0 has a conflicting OwnerReference"));
  });
}

TEST_CASE("the owners of a claim, by policy") {
  auto made = api::Object::from_json(
      {{"apiVersion", "apps/v1"}, {"kind", "StatefulSet"}, {"metadata", {{"name", "db"}, {"uid", "s"}}}});
  REQUIRE(made);
  using api::OwnerReference;
  const auto ref = [](std::string api, std::string kind, std::string name, std::string uid, bool controller) {
    return OwnerReference{.api_version = std::move(api),
                          .kind = std::move(kind),
                          .name = std::move(name),
                          .uid = std::move(uid),
                          .controller = controller,
                          .block_owner_deletion = controller};
  };
  const auto set = ref("apps/v1", "StatefulSet", "db", "s", true);
  const auto old_set = ref("apps/v1", "StatefulSet", "db", "old", true);
  const auto weak_set = ref("apps/v1", "StatefulSet", "db", "s", false);
  const auto pod = ref("v1", "Pod", "db-0", "p", true);
  const auto old_pod = ref("v1", "Pod", "db-0", "old", true);
  const auto other = ref("example.com/v1", "Disk", "d", "x", true);
  const auto friend_of = ref("example.com/v1", "Disk", "d", "x", false);
  struct Case {
    const char* what;
    ClaimRetention retention;
    bool in_range;
    Owners owners;
    bool match;
    std::string wanted;  // uids
  };
  const ClaimRetention keep{}, with_set{.when_deleted = true}, with_pod{.when_scaled = true},
      both{.when_deleted = true, .when_scaled = true};
  const std::vector<Case> cases = {
      {"retain: none", keep, true, {}, true, ""},
      {"retain: the set lets go", keep, true, {set}, false, ""},
      {"retain: the pod lets go", keep, false, {pod}, false, ""},
      {"retain: another may have it", keep, true, {other}, true, "x"},
      {"deleted: the set", with_set, true, {}, false, "s"},
      {"deleted: as it is", with_set, true, {set}, true, "s"},
      {"deleted: also when scaled away", with_set, false, {set}, true, "s"},
      {"deleted: not the pod", with_set, false, {set, pod}, false, "s"},
      {"scaled: nobody while wanted", with_pod, true, {}, true, ""},
      {"scaled: the pod once it is not", with_pod, false, {}, false, "p"},
      {"scaled: never the set", with_pod, true, {set}, false, ""},
      {"scaled: wanted again", with_pod, true, {pod}, false, ""},
      {"both: the set while wanted", both, true, {}, false, "s"},
      {"both: the pod once it is not", both, false, {set}, false, "p"},
      {"both: as it is", both, false, {pod}, true, "p"},
      {"an owner that does not control", with_set, true, {weak_set}, false, "s"},
      {"others stay beside", with_set, true, {friend_of}, false, "x s"},
      {"an earlier set's", with_set, true, {old_set}, true, ""},
      {"an earlier pod's", both, true, {old_pod}, true, ""},
      {"another's, and ours leaves", with_set, true, {other, set}, false, "x"},
      {"another's", with_set, true, {other}, true, "x"},
  };
  for (const auto& k : cases) {
    INFO(k.what);
    const ClaimSide side{
        .set = **made, .pod_name = "db-0", .pod_uid = "p", .in_range = k.in_range, .retention = k.retention};
    CHECK(owners_match(k.owners, side) == k.match);
    std::string uids;
    const auto wanted = wanted_owners(k.owners, side);
    for (const auto& owner : wanted) uids += (uids.empty() ? "" : " ") + owner.uid;
    CHECK(uids == k.wanted);
    const bool foreign = std::any_of(k.owners.begin(), k.owners.end(), [](const auto& o) { return o.uid == "old"; });
    if (!foreign) CHECK(owners_match(wanted, side));  // once done, nothing is left to do
  }
}
