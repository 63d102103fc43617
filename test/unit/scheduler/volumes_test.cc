// The plugins about volumes, with a scheduler over an API in memory and controllers of sorts.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "bench.h"
#include "brume/client/volumes.h"

using namespace brume;
using namespace std::chrono_literals;
using test::settle;

namespace {

struct VolumeBench : Bench {
  void run(std::function<Task<void>()> body) {
    node("n1", {{"topology.kubernetes.io/zone", "a"}});
    Bench::run(std::move(body));
  }
  void node(const std::string& name, Json labels = Json::object()) {
    labels["kubernetes.io/hostname"] = name;
    api.seed("nodes", {{"metadata", {{"name", name}, {"labels", labels}}},
                       {"spec", Json::object()},
                       {"status", {{"allocatable", {{"cpu", "4"}, {"memory", "8Gi"}, {"pods", "110"}}}}}});
  }
  void pod(const std::string& name, const Json& volume, const std::string& on = "") {
    Json source = volume;
    source["name"] = "v";
    Json value = {{"metadata", {{"name", name}, {"namespace", "default"}}},
                  {"spec",
                   {{"schedulerName", "default-scheduler"},
                    {"containers", Json::array({{{"name", "c"}}})},
                    {"volumes", Json::array({source})}}},
                  {"status", {{"phase", "Pending"}}}};
    if (!on.empty()) value["spec"]["nodeName"] = on;
    api.seed("pods", std::move(value));
  }
  static Json uses(const std::string& claim) { return {{"persistentVolumeClaim", {{"claimName", claim}}}}; }
  void storage_class(const std::string& name, const std::string& provisioner, Json more = Json::object()) {
    Json value = {
        {"metadata", {{"name", name}}}, {"provisioner", provisioner}, {"volumeBindingMode", "WaitForFirstConsumer"}};
    value.merge_patch(more);
    api.seed("storageclasses.storage.k8s.io", value);
  }
  void claim(const std::string& name, const std::string& class_name, Json more = Json::object()) {
    Json value = {{"metadata", {{"name", name}, {"namespace", "default"}}},
                  {"spec",
                   {{"accessModes", Json::array({"ReadWriteOnce"})},
                    {"storageClassName", class_name},
                    {"resources", {{"requests", {{"storage", "1Gi"}}}}}}},
                  {"status", {{"phase", "Pending"}}}};
    value.merge_patch(more);
    api.seed("persistentvolumeclaims", value);
  }
  /// A free volume of the class, on one node only when it is given.
  void volume(const std::string& name, const std::string& class_name, const std::string& on = "",
              Json more = Json::object()) {
    Json value = {{"metadata", {{"name", name}}},
                  {"spec",
                   {{"accessModes", Json::array({"ReadWriteOnce"})},
                    {"storageClassName", class_name},
                    {"capacity", {{"storage", "1Gi"}}}}},
                  {"status", {{"phase", "Available"}}}};
    if (!on.empty()) {
      value["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"] =
          Json::array({{{"matchExpressions",
                         Json::array({{{"key", "kubernetes.io/hostname"}, {"operator", "In"}, {"values", {on}}}})}}});
    }
    value.merge_patch(more);
    api.seed("persistentvolumes", value);
  }
  /// What the controllers do: complete the binding of both.
  void bind(const std::string& claim_name, const std::string& volume_name) {
    Json value = api.json("persistentvolumeclaims", "default", claim_name);
    value["spec"]["volumeName"] = volume_name;
    value["metadata"]["annotations"][client::kBindCompleted] = "yes";
    value["status"]["phase"] = "Bound";
    api.seed("persistentvolumeclaims", value);
  }
  std::string why(const std::string& name) const {
    const Json value = api.json("pods", "default", name);
    return std::string(str(client::find_condition(at(value, "status"), "PodScheduled"), "message"));
  }
  std::string nominated(const std::string& name) const {
    return std::string(str(at(api.json("pods", "default", name), "status"), "nominatedNodeName"));
  }
  std::string selected(const std::string& claim_name) const {
    const Json value = api.json("persistentvolumeclaims", "default", claim_name);
    return std::string(str(at(value, "metadata", "annotations"), client::kSelectedNode));
  }
  std::string claim_of(const std::string& volume_name) const {
    const Json value = api.json("persistentvolumes", "", volume_name);
    return std::string(str(at(value, "spec", "claimRef"), "name"));
  }
  Task<void> later() {
    co_await settle();
    clock.advance(11s);
    co_await settle();
  }
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a pod is told what is wrong with its claim, and goes on when it is right") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.pod("web", VolumeBench::uses("data"));
    co_await settle();
    CHECK(contains(b.why("web"), "0/1 nodes are available: persistentvolumeclaim \"data\" not found."));
    b.claim("data", "");
    co_await b.later();
    CHECK(contains(b.why("web"), "pod has unbound immediate PersistentVolumeClaims"));
    b.volume("disk", "", "n2");
    b.bind("data", "disk");
    co_await b.later();
    CHECK(contains(b.why("web"), "1 node(s) didn't match PersistentVolume's node affinity"));
    b.node("n2");
    co_await b.later();
    CHECK(b.node_of("web") == "n2");

    b.claim("lost", "", {{"spec", {{"volumeName", "gone"}}}, {"status", {{"phase", "Lost"}}}});
    b.pod("sad", VolumeBench::uses("lost"));
    co_await settle();
    CHECK(contains(b.why("sad"), "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"gone\""));
    b.claim(
        "leaving", "",
        {{"metadata",
          {{"deletionTimestamp", "2026-01-01T00:00:00Z"}, {"finalizers", Json::array({client::kClaimProtection})}}}});
    b.pod("late", VolumeBench::uses("leaving"));
    co_await settle();
    CHECK(contains(b.why("late"), "persistentvolumeclaim \"leaving\" is being deleted"));
    b.claim("empty", "");
    b.bind("empty", "gone");
    b.pod("lonely", VolumeBench::uses("empty"));
    co_await settle();
    CHECK(contains(b.why("lonely"), "persistentvolume \"gone\" not found"));
  });
}

TEST_CASE("a volume is made where the pod goes, and the pod is bound when it is there") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.storage_class("later", "example.com/disks");
    b.claim("data", "later");
    co_await settle();
    b.pod("web", VolumeBench::uses("data"));
    co_await settle();
    CHECK(b.selected("data") == "n1");
    CHECK(b.node_of("web").empty());
    CHECK(b.why("web").empty());
    CHECK(b.nominated("web") == "n1");
    b.volume("made", "later", "n1");
    b.bind("data", "made");
    co_await settle();
    CHECK(b.node_of("web") == "n1");
    // A second pod with the claim follows it.
    b.node("n2");
    co_await settle();
    b.pod("too", VolumeBench::uses("data"));
    co_await settle();
    CHECK(b.node_of("too") == "n1");
  });
}

TEST_CASE("volumes that are there are taken first, the smallest that fits, each once") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.storage_class("by-hand", "kubernetes.io/no-provisioner");
    b.volume("large", "by-hand", "n1", {{"spec", {{"capacity", {{"storage", "9Gi"}}}}}});
    b.volume("small", "by-hand", "n1", {{"spec", {{"capacity", {{"storage", "2Gi"}}}}}});
    b.volume("tiny", "by-hand", "n1", {{"spec", {{"capacity", {{"storage", "1Mi"}}}}}});
    for (const char* name : {"a", "b", "c"}) b.claim(name, "by-hand");
    co_await settle();
    for (const char* name : {"a", "b", "c"}) b.pod(std::string("pod-") + name, VolumeBench::uses(name));
    co_await settle();
    CHECK(b.claim_of("small") == "a");
    CHECK(b.claim_of("large") == "b");
    CHECK(b.claim_of("tiny").empty());
    CHECK(contains(b.why("pod-c"), "1 node(s) didn't find available persistent volumes to bind"));
    const Json taken = b.api.json("persistentvolumes", "", "small");
    CHECK(str(at(taken, "metadata", "annotations"), client::kBoundByController) == "yes");
    b.bind("a", "small");
    b.bind("b", "large");
    co_await settle();
    CHECK(b.node_of("pod-a") == "n1");
    CHECK(b.node_of("pod-b") == "n1");
    b.volume("more", "by-hand", "n1");
    co_await b.later();
    CHECK(b.claim_of("more") == "c");
  });
}

TEST_CASE("what was promised is free again when it cannot be written, or takes too long") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.storage_class("by-hand", "kubernetes.io/no-provisioner");
    b.storage_class("later", "example.com/disks");
    b.volume("disk", "by-hand", "n1");
    b.claim("a", "by-hand");
    b.claim("slow", "later");
    co_await settle();
    int refused = 0;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "update" || call.resource != "persistentvolumes" || refused++ > 0) return std::nullopt;
      return Error{.code = Code::kConflict, .message = "changed"};
    });
    b.pod("one", VolumeBench::uses("a"));
    co_await settle();
    CHECK(b.claim_of("disk").empty());
    CHECK(contains(b.why("one"), "running PreBind plugin \"VolumeBinding\": changed"));
    CHECK(b.nominated("one").empty());
    co_await b.later();
    CHECK(b.claim_of("disk") == "a");
    b.pod("two", VolumeBench::uses("slow"));
    co_await settle();
    CHECK(b.selected("slow") == "n1");
    CHECK(b.nominated("two") == "n1");
    b.clock.advance(601s);
    co_await settle();
    CHECK(contains(b.why("two"), "binding volumes: context deadline exceeded"));
    CHECK(b.nominated("two").empty());
    // The provisioner gave the node back: another is chosen.
    b.node("n2");
    Json value = b.api.json("persistentvolumeclaims", "default", "slow");
    value["metadata"]["annotations"].erase(std::string(client::kSelectedNode));
    b.api.seed("persistentvolumeclaims", value);
    co_await b.later();
    CHECK_FALSE(b.selected("slow").empty());
  });
}

TEST_CASE("a pod that waits for its volume is not deleted for another's sake: it goes back to the queue") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.storage_class("later", "example.com/disks");
    b.claim("data", "later");
    co_await settle();
    Json low = VolumeBench::uses("data");
    low["spec"]["containers"] = Json::array({{{"name", "c"}, {"resources", {{"requests", {{"cpu", "3"}}}}}}});
    b.pod("low", low);
    co_await settle();
    REQUIRE(b.selected("data") == "n1");
    Json high = {{"spec", {{"priority", 100}}}};
    high["spec"]["containers"] = low["spec"]["containers"];
    b.pod("high", high);
    co_await settle(1000);
    b.clock.advance(2s);
    co_await settle(1000);
    CHECK(b.node_of("high") == "n1");
    const auto left = b.api.find("pods", "default", "low");
    REQUIRE(left);
    CHECK_FALSE(left->deleting());
    CHECK_FALSE(b.api.json("pods", "default", "low").dump().contains("DisruptionTarget"));
    CHECK(b.node_of("low").empty());
  });
}

TEST_CASE("a pod whose provisioning failed is tried again") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.storage_class("later", "example.com/disks");
    b.claim("data", "later");
    co_await settle();
    b.pod("web", VolumeBench::uses("data"));
    co_await settle();
    REQUIRE(b.selected("data") == "n1");
    Json value = b.api.json("persistentvolumeclaims", "default", "data");
    value["metadata"]["annotations"].erase(std::string(client::kSelectedNode));
    b.api.seed("persistentvolumeclaims", value);
    co_await settle();
    CHECK(contains(b.why("web"), "binding volumes: provisioning failed for PVC \"data\""));
    co_await b.later();
    CHECK(b.selected("data") == "n1");
  });
}

TEST_CASE("a class may be for some nodes only, and a driver may be full") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    const Json zone_b = Json::array(
        {{{"matchLabelExpressions", Json::array({{{"key", "topology.kubernetes.io/zone"}, {"values", {"b"}}}})}}});
    b.storage_class("zoned", "example.com/disks", {{"allowedTopologies", zone_b}});
    b.claim("data", "zoned");
    co_await settle();
    b.pod("web", VolumeBench::uses("data"));
    co_await settle();
    CHECK(contains(b.why("web"), "1 node(s) didn't find available persistent volumes to bind"));
    b.node("n2", {{"topology.kubernetes.io/zone", "b"}});
    co_await b.later();
    CHECK(b.selected("data") == "n2");

    b.storage_class("full", "csi.example.com");
    b.api.seed("csidrivers.storage.k8s.io",
               {{"metadata", {{"name", "csi.example.com"}}}, {"spec", {{"storageCapacity", true}}}});
    b.claim("big", "full");
    co_await settle();
    b.pod("db", VolumeBench::uses("big"));
    co_await settle();
    CHECK(contains(b.why("db"), "2 node(s) did not have enough free storage"));
    b.api.seed("csistoragecapacities.storage.k8s.io",
               {{"metadata", {{"name", "c"}, {"namespace", "default"}}},
                {"storageClassName", "full"},
                {"capacity", "5Gi"},
                {"nodeTopology", {{"matchLabels", {{"kubernetes.io/hostname", "n1"}}}}}});
    co_await b.later();
    CHECK(b.selected("big") == "n1");
  });
}

TEST_CASE("generic ephemeral volumes wait for their claim, which must be the pod's") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.storage_class("later", "example.com/disks");
    b.pod("web", {{"ephemeral", Json::object()}});
    co_await settle();
    CHECK(contains(b.why("web"),
                   "waiting for ephemeral volume controller to create the persistentvolumeclaim \"web-v\""));
    b.claim("web-v", "later");
    co_await b.later();
    CHECK(contains(b.why("web"), "PVC default/web-v was not created for pod default/web (pod is not owner)"));
    Json value = b.api.json("persistentvolumeclaims", "default", "web-v");
    value["metadata"]["ownerReferences"] =
        Json::array({client::controller_reference(*b.api.find("pods", "default", "web"))});
    b.api.seed("persistentvolumeclaims", value);
    co_await b.later();
    CHECK(b.selected("web-v") == "n1");
  });
}

TEST_CASE("a ReadWriteOncePod claim is for one pod") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.claim("data", "", {{"spec", {{"accessModes", Json::array({"ReadWriteOncePod"})}}}});
    b.volume("disk", "");
    b.bind("data", "disk");
    co_await settle();
    b.pod("first", VolumeBench::uses("data"));
    co_await settle();
    CHECK(b.node_of("first") == "n1");
    b.pod("second", VolumeBench::uses("data"));
    co_await settle();
    CHECK(contains(b.why("second"),
                   "1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already "
                   "in-use by another pod"));
    b.api.erase("pods", "default", "first");
    co_await b.later();
    CHECK(b.node_of("second") == "n1");
  });
}

TEST_CASE("a disk that one node may write is not given to two pods there") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    const Json disk = {{"gcePersistentDisk", {{"pdName", "d"}}}};
    const Json read_only = {{"gcePersistentDisk", {{"pdName", "d"}, {"readOnly", true}}}};
    b.pod("writer", disk, "n1");
    co_await settle();
    b.pod("reader", read_only);
    co_await settle();
    CHECK(contains(b.why("reader"), "1 node(s) had no available disk"));
    b.api.erase("pods", "default", "writer");
    co_await b.later();
    CHECK(b.node_of("reader") == "n1");
    b.pod("other", read_only);
    co_await settle();
    CHECK(b.node_of("other") == "n1");
  });
}

TEST_CASE("volumes of a zone keep their pods there") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    b.claim("data", "");
    b.volume("disk", "", "", {{"metadata", {{"labels", {{"topology.kubernetes.io/zone", "b__c"}}}}}});
    b.bind("data", "disk");
    co_await settle();
    b.pod("web", VolumeBench::uses("data"));
    co_await settle();
    CHECK(contains(b.why("web"), "1 node(s) had no available volume zone"));
    b.node("n2", {{"failure-domain.beta.kubernetes.io/zone", "c"}, {"topology.kubernetes.io/zone", "c"}});
    co_await b.later();
    CHECK(b.node_of("web") == "n2");
  });
}

TEST_CASE("a node takes as many volumes of a CSI driver as its CSINode says") {
  VolumeBench b;
  b.run([&]() -> Task<void> {
    const auto csi_node = [&](int count) {
      b.api.seed(
          "csinodes.storage.k8s.io",
          {{"metadata", {{"name", "n1"}}},
           {"spec", {{"drivers", Json::array({{{"name", "csi.example.com"}, {"allocatable", {{"count", count}}}}})}}}});
    };
    csi_node(1);
    for (const char* name : {"a", "b"}) {
      b.claim(name, "");
      b.volume(std::string("disk-") + name, "", "",
               {{"spec", {{"csi", {{"driver", "csi.example.com"}, {"volumeHandle", name}}}}}});
      b.bind(name, std::string("disk-") + name);
    }
    co_await settle();
    b.pod("first", VolumeBench::uses("a"));
    co_await settle();
    CHECK(b.node_of("first") == "n1");
    b.pod("same", VolumeBench::uses("a"));
    b.pod("second", VolumeBench::uses("b"));
    co_await settle();
    CHECK(b.node_of("same") == "n1");
    CHECK(contains(b.why("second"), "1 node(s) exceed max volume count"));
    csi_node(2);
    co_await b.later();
    CHECK(b.node_of("second") == "n1");
  });
}
