// Binding of claims and volumes, the protection of both, ephemeral claims, growth.
#include <algorithm>
#include <set>

#include "bench.h"
#include "brume/api/local_path.h"
#include "brume/client/volumes.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json claim(const std::string& name, const std::string& size = "1Gi", const Json& more = Json::object()) {
  Json out = {{"metadata", {{"name", name}, {"namespace", "default"}}},
              {"spec",
               {{"accessModes", Json::array({"ReadWriteOnce"})},
                {"storageClassName", ""},
                {"volumeMode", "Filesystem"},
                {"resources", {{"requests", {{"storage", size}}}}}}},
              {"status", {{"phase", "Pending"}}}};
  out["spec"].update(more);
  return out;
}

Json volume(const std::string& name, const std::string& size = "1Gi", const Json& more = Json::object()) {
  Json out = {{"metadata", {{"name", name}}},
              {"spec",
               {{"accessModes", Json::array({"ReadWriteOnce"})},
                {"capacity", {{"storage", size}}},
                {"volumeMode", "Filesystem"},
                {"persistentVolumeReclaimPolicy", "Retain"},
                {"hostPath", {{"path", "/mnt/" + name}}}}},
              {"status", {{"phase", "Pending"}}}};
  out["spec"].update(more);
  return out;
}

Json storage_class(const std::string& name, const std::string& provisioner, const std::string& mode) {
  return {{"metadata", {{"name", name}}},
          {"provisioner", provisioner},
          {"reclaimPolicy", "Delete"},
          {"volumeBindingMode", mode}};
}

Json pod_with(const std::string& name, const Json& volumes, const std::string& node = "") {
  Json out = {{"metadata", {{"name", name}, {"namespace", "default"}}},
              {"spec", {{"containers", Json::array({{{"name", "c"}}})}, {"volumes", volumes}}},
              {"status", {{"phase", "Pending"}}}};
  if (!node.empty()) out["spec"]["nodeName"] = node;
  return out;
}

Json uses_claim(const std::string& name) {
  return Json::array({{{"name", "data"}, {"persistentVolumeClaim", {{"claimName", name}}}}});
}

struct Storage : Bench {
  explicit Storage(std::vector<Make> makers = {make_volume_binding}) : Bench(std::move(makers)) {}

  void add_claim(Json value) { api.seed("persistentvolumeclaims", std::move(value)); }
  void add_volume(Json value) { api.seed("persistentvolumes", std::move(value)); }
  [[nodiscard]] Json claim_of(const char* name) const { return api.json("persistentvolumeclaims", "default", name); }
  [[nodiscard]] Json volume_of(const char* name) const { return api.json("persistentvolumes", "", name); }
  [[nodiscard]] std::string volume_name(const char* name) const {
    const Json value = claim_of(name);
    return std::string(str(at(value, "spec"), "volumeName"));
  }
  [[nodiscard]] std::string phase(const char* name) const {
    const Json value = claim_of(name);
    return std::string(str(at(value, "status"), "phase"));
  }
  [[nodiscard]] std::string volume_phase(const char* name) const {
    const Json value = volume_of(name);
    return std::string(str(at(value, "status"), "phase"));
  }
  [[nodiscard]] std::string annotation(const Json& object, std::string_view key) const {
    return std::string(str(at(object, "metadata", "annotations"), key));
  }
};

}  // namespace

TEST_CASE("a claim gets the smallest volume that fits, and both say so") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.add_volume(volume("small", "1Gi"));
    b.add_volume(volume("large", "10Gi"));
    b.add_volume(volume("middle", "5Gi"));
    b.add_volume(volume("more-modes", "4Gi", {{"accessModes", Json::array({"ReadWriteOnce", "ReadOnlyMany"})}}));
    co_await b.rest();
    CHECK(b.volume_phase("small") == "Available");
    b.add_claim(claim("data", "3Gi"));
    co_await b.rest();
    CHECK(b.volume_name("data") == "middle");
    CHECK(b.phase("data") == "Bound");
    CHECK(b.volume_phase("middle") == "Bound");
    const Json bound = b.claim_of("data");
    CHECK(b.annotation(bound, client::kBindCompleted) == "yes");
    CHECK(b.annotation(bound, client::kBoundByController) == "yes");
    CHECK(str(at(bound, "status", "capacity"), "storage") == "5Gi");
    CHECK(at(bound, "status", "accessModes") == Json::array({"ReadWriteOnce"}));
    const Json taken = b.volume_of("middle");
    CHECK(b.annotation(taken, client::kBoundByController) == "yes");
    CHECK(str(at(taken, "spec", "claimRef"), "uid") == str(at(bound, "metadata"), "uid"));
    CHECK(str(at(taken, "spec", "claimRef"), "kind") == "PersistentVolumeClaim");
    CHECK(b.volume_phase("large") == "Available");
  });
}

TEST_CASE("class, modes, volumeMode, selector and attributes class must all match") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.add_volume(volume("classy", "1Gi", {{"storageClassName", "fast"}}));
    b.add_volume(volume("read-only", "1Gi", {{"accessModes", Json::array({"ReadOnlyMany"})}}));
    b.add_volume(volume("block", "1Gi", {{"volumeMode", "Block"}}));
    b.add_volume(volume("attributes", "1Gi", {{"volumeAttributesClassName", "gold"}}));
    b.add_claim(claim("data"));
    co_await b.rest();
    CHECK(b.phase("data") == "Pending");
    CHECK(b.events("FailedBinding") ==
          std::vector<std::string>{"no persistent volumes available for this claim and no storage class is set"});
    b.add_claim(claim("picky", "1Gi", {{"selector", {{"matchLabels", {{"disk", "ssd"}}}}}}));
    co_await b.rest();
    Json labelled = volume("labelled");
    labelled["metadata"]["labels"]["disk"] = "ssd";
    b.add_volume(labelled);
    co_await b.rest();
    // A volume that comes to be free is offered to claims that wait: whichever was first has it.
    CHECK((b.volume_name("data") == "labelled") != (b.volume_name("picky") == "labelled"));
    b.add_claim(claim("raw", "1Gi", {{"volumeMode", "Block"}}));
    co_await b.rest();
    CHECK(b.volume_name("raw") == "block");
  });
}

TEST_CASE("two claims never get one volume") {
  Storage b;
  b.run([&]() -> Task<void> {
    for (int i = 0; i < 5; ++i) b.add_claim(claim("c" + std::to_string(i)));
    b.add_volume(volume("v0"));
    b.add_volume(volume("v1"));
    co_await b.rest();
    std::set<std::string> taken;
    int bound = 0;
    for (const auto& object : b.api.all("persistentvolumeclaims")) {
      const Json value = object->parse();
      if (str(at(value, "status"), "phase") != "Bound") continue;
      ++bound;
      taken.emplace(str(at(value, "spec"), "volumeName"));
    }
    CHECK(bound == 2);
    CHECK(taken.size() == 2);
  });
}

TEST_CASE("a binding is completed from wherever it was cut") {
  // Writes fail from the nth on, the controller is made anew, and all is well in the end.
  for (int allowed = 0; allowed < 5; ++allowed) {
    Storage b;
    int writes = 0;
    bool dead = true;
    b.run([&]() -> Task<void> {
      b.add_volume(volume("disk"));
      co_await b.rest();
      b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
        if (call.verb != "update" || !dead || writes++ < allowed) return std::nullopt;
        return Error{.code = Code::kServiceUnavailable, .message = "gone"};
      });
      b.add_claim(claim("data"));
      co_await b.rest();
      dead = false;
      co_await b.rest(20);
      CHECK(b.phase("data") == "Bound");
      CHECK(b.volume_phase("disk") == "Bound");
      CHECK(b.volume_name("data") == "disk");
    });
  }
}

TEST_CASE("volumes and claims that users bound before") {
  Storage b;
  b.run([&]() -> Task<void> {
    // The volume is kept for a claim by name: no other gets it, and it is used even when others are smaller.
    b.add_volume(volume("kept", "10Gi", {{"claimRef", {{"namespace", "default"}, {"name", "mine"}}}}));
    b.add_claim(claim("other"));
    co_await b.rest();
    CHECK(b.phase("other") == "Pending");
    CHECK(b.volume_phase("kept") == "Available");
    b.add_volume(volume("free", "1Gi", {{"storageClassName", "elsewhere"}}));
    b.add_claim(claim("mine"));
    co_await b.rest();
    CHECK(b.volume_name("mine") == "kept");
    const Json kept = b.volume_of("kept");
    CHECK(b.annotation(kept, client::kBoundByController).empty());
    CHECK(!str(at(kept, "spec", "claimRef"), "uid").empty());
    // The claim names its volume.
    b.add_volume(volume("named", "1Gi"));
    co_await b.rest();
    b.add_claim(claim("asks", "1Gi", {{"volumeName", "too-small"}}));
    co_await b.rest();
    CHECK(b.phase("asks") == "Pending");
    b.add_volume(volume("too-small", "1Mi"));
    co_await b.rest();
    CHECK(b.events("VolumeMismatch") ==
          std::vector<std::string>{"Cannot bind to requested volume \"too-small\": requested PV is too small"});
    b.add_claim(claim("late", "1Gi", {{"volumeName", "kept"}}));
    co_await b.rest();
    CHECK(b.phase("late") == "Pending");
    CHECK(std::ranges::count(b.events("FailedBinding"), "volume \"kept\" already bound to a different claim.") == 1);
  });
}

TEST_CASE("a claim that was bound and has no volume any more is lost") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.add_volume(volume("disk"));
    b.add_claim(claim("data"));
    co_await b.rest();
    REQUIRE(b.phase("data") == "Bound");
    b.api.erase("persistentvolumes", "", "disk");
    co_await b.rest();
    CHECK(b.phase("data") == "Lost");
    CHECK_FALSE(at(b.claim_of("data"), "status").contains("capacity"));
    CHECK(b.events("ClaimLost") ==
          std::vector<std::string>{"Bound claim has lost its PersistentVolume. Data on the volume is lost!"});
    // Back again under its name: the claim has it again.
    b.add_volume(volume("disk"));
    co_await b.rest();
    CHECK(b.phase("data") == "Bound");
  });
}

TEST_CASE("two claims with the same volume: the one that it does not know is lost") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.add_volume(volume("disk"));
    b.add_claim(claim("data"));
    co_await b.rest();
    Json twin = claim("twin", "1Gi", {{"volumeName", "disk"}});
    twin["metadata"]["annotations"][client::kBindCompleted] = "yes";
    b.add_claim(twin);
    co_await b.rest();
    CHECK(b.phase("twin") == "Lost");
    CHECK(b.events("ClaimMisbound") ==
          std::vector<std::string>{"Two claims are bound to the same volume, this one is bound incorrectly"});
  });
}

TEST_CASE("a volume whose claim is gone is reclaimed as its policy says") {
  Storage b;
  b.run([&]() -> Task<void> {
    const auto with = [](const char* policy) { return Json{{"persistentVolumeReclaimPolicy", policy}}; };
    b.add_volume(volume("retained", "1Gi", with("Retain")));
    b.add_claim(claim("a"));
    co_await b.rest();
    b.add_volume(volume("recycled", "1Gi", with("Recycle")));
    b.add_claim(claim("b"));
    co_await b.rest();
    b.add_volume(volume("deleted", "1Gi", with("Delete")));
    b.add_claim(claim("c"));
    co_await b.rest();
    Json foreign = volume("foreign", "1Gi", with("Delete"));
    foreign["metadata"]["annotations"][client::kProvisionedBy] = "example.com/disks";
    b.add_volume(foreign);
    b.add_claim(claim("d"));
    co_await b.rest();
    for (const char* name : {"a", "b", "c", "d"}) {
      REQUIRE(b.phase(name) == "Bound");
      b.api.erase("persistentvolumeclaims", "default", name);
    }
    co_await b.rest();
    CHECK(b.volume_phase("retained") == "Released");
    CHECK(b.volume_phase("recycled") == "Failed");
    CHECK(b.events("VolumeFailedRecycle") == std::vector<std::string>{"No recycler plugin found for the volume!"});
    CHECK(b.volume_phase("deleted") == "Failed");
    CHECK(b.events("VolumeFailedDelete") ==
          std::vector<std::string>{"error getting deleter volume plugin for volume \"deleted\": no deletable volume "
                                   "plugin matched"});
    CHECK(str(at(b.volume_of("deleted"), "status"), "message").starts_with("error getting deleter"));
    CHECK(b.volume_phase("foreign") == "Released");
    // A claim of the same name is another claim: the data are not its.
    b.add_claim(claim("a"));
    co_await b.rest();
    CHECK(b.phase("a") == "Pending");
    CHECK(b.volume_phase("retained") == "Released");
    // Until a person frees the volume.
    b.edit("persistentvolumes", "", "retained", [](Json& value) { value["spec"].erase("claimRef"); });
    co_await b.rest();
    CHECK(b.volume_name("a") == "retained");
  });
}

TEST_CASE("a claim that chose another volume lets the first one go") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.add_volume(volume("second"));
    b.add_claim(claim("data", "1Gi", {{"volumeName", "second"}}));
    co_await b.rest();
    REQUIRE(b.phase("data") == "Bound");
    const Json bound = b.claim_of("data");
    const Json ref = {{"namespace", "default"}, {"name", "data"}, {"uid", str(at(bound, "metadata"), "uid")}};
    Json first = volume("first", "1Gi", {{"claimRef", ref}});
    first["metadata"]["annotations"][client::kBoundByController] = "yes";
    b.add_volume(first);
    b.add_volume(volume("kept", "1Gi", {{"claimRef", ref}}));
    co_await b.rest();
    CHECK(b.volume_phase("first") == "Available");
    CHECK_FALSE(at(b.volume_of("first"), "spec").contains("claimRef"));
    CHECK(b.volume_phase("kept") == "Available");
    CHECK_FALSE(at(b.volume_of("kept"), "spec", "claimRef").contains("uid"));
  });
}

TEST_CASE("a claim without class gets the default one, even one that comes later") {
  Storage b;
  b.run([&]() -> Task<void> {
    Json bare = claim("data");
    bare["spec"].erase("storageClassName");
    b.add_claim(bare);
    b.add_claim(claim("none-wanted"));
    co_await b.rest();
    CHECK(b.events("FailedBinding").size() == 2);
    Json standard = storage_class("standard", "example.com/disks", "Immediate");
    standard["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] = "true";
    b.api.seed("storageclasses.storage.k8s.io", standard);
    co_await b.rest();
    CHECK(str(at(b.claim_of("data"), "spec"), "storageClassName") == "standard");
    CHECK(str(at(b.claim_of("none-wanted"), "spec"), "storageClassName").empty());
    CHECK(b.annotation(b.claim_of("data"), client::kStorageProvisioner) == "example.com/disks");
    CHECK(b.annotation(b.claim_of("data"), client::kBetaStorageProvisioner) == "example.com/disks");
    REQUIRE(b.events("ExternalProvisioning").size() == 1);
    CHECK(b.events("ExternalProvisioning")[0].starts_with(
        "Waiting for a volume to be created either by the external provisioner 'example.com/disks' or manually"));
  });
}

TEST_CASE("a class that waits for a consumer has nothing made before a node is chosen") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.api.seed("storageclasses.storage.k8s.io", storage_class("later", "example.com/disks", "WaitForFirstConsumer"));
    b.add_volume(volume("there", "1Gi", {{"storageClassName", "later"}}));
    b.add_claim(claim("data", "1Gi", {{"storageClassName", "later"}}));
    co_await b.rest();
    CHECK(b.phase("data") == "Pending");
    CHECK(b.events("WaitForFirstConsumer") ==
          std::vector<std::string>{"waiting for first consumer to be created before binding"});
    CHECK(b.events("ExternalProvisioning").empty());
    b.api.seed("pods", pod_with("web", uses_claim("data")));
    co_await b.rest();
    b.clock.advance(16s);
    co_await b.rest();
    CHECK(b.events("WaitForPodScheduled") == std::vector<std::string>{"waiting for pod web to be scheduled"});
    b.edit("persistentvolumeclaims", "default", "data",
           [](Json& value) { value["metadata"]["annotations"][client::kSelectedNode] = "n1"; });
    co_await b.rest();
    CHECK(b.annotation(b.claim_of("data"), client::kStorageProvisioner) == "example.com/disks");
    CHECK(b.events("ExternalProvisioning").size() == 1);
    // The scheduler keeps a volume that is there for the claim by half a binding.
    b.add_claim(claim("more", "1Gi", {{"storageClassName", "later"}}));
    co_await b.rest();
    const Json more = b.claim_of("more");
    b.edit("persistentvolumes", "", "there", [&](Json& value) {
      value["spec"]["claimRef"] = {
          {"namespace", "default"}, {"name", "more"}, {"uid", str(at(more, "metadata"), "uid")}};
      value["metadata"]["annotations"][client::kBoundByController] = "yes";
    });
    co_await b.rest();
    CHECK(b.volume_name("more") == "there");
    CHECK(b.phase("more") == "Bound");
  });
}

TEST_CASE("classes that nobody can serve are said") {
  Storage b;
  b.run([&]() -> Task<void> {
    b.api.seed("storageclasses.storage.k8s.io", storage_class("by-hand", "kubernetes.io/no-provisioner", "Immediate"));
    co_await b.rest();
    b.add_claim(claim("a", "1Gi", {{"storageClassName", "by-hand"}}));
    b.add_claim(claim("b", "1Gi", {{"storageClassName", "missing"}}));
    co_await b.rest();
    auto events = b.events("ProvisioningFailed");
    std::ranges::sort(events);
    CHECK(events == std::vector<std::string>{"no volume plugin matched name: kubernetes.io/no-provisioner",
                                             "storageclass.storage.k8s.io \"missing\" not found"});
  });
}

// Protection ----------------------------------------------------------------------------------------------------------

TEST_CASE("a claim stays as long as a pod with a node uses it") {
  Storage b({make_claim_protection});
  b.run([&]() -> Task<void> {
    b.add_claim(claim("data"));
    co_await b.rest();
    CHECK(b.api.find("persistentvolumeclaims", "default", "data")->finalizers() ==
          std::vector<std::string>{"kubernetes.io/pvc-protection"});
    b.api.seed("pods", pod_with("web", uses_claim("data"), "n1"));
    b.api.seed("pods", pod_with("waits", uses_claim("data")));
    co_await b.rest();
    (void)co_await b.api.remove(api::res("persistentvolumeclaims"), "default", "data", {});
    co_await b.rest();
    REQUIRE(b.api.find("persistentvolumeclaims", "default", "data"));
    // One that has ended keeps it, too.
    b.api.set_status("pods", "default", "web", {{"phase", "Succeeded"}});
    co_await b.rest();
    REQUIRE(b.api.find("persistentvolumeclaims", "default", "data"));
    b.api.erase("pods", "default", "web");
    co_await b.rest();
    CHECK_FALSE(b.api.find("persistentvolumeclaims", "default", "data"));
  });
}

TEST_CASE("a pod that the copy does not show yet keeps its claim") {
  Storage b({make_claim_protection});
  b.run([&]() -> Task<void> {
    b.add_claim(claim("data"));
    co_await b.rest();
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "watch" || call.resource != "pods") return std::nullopt;
      return Error{.code = Code::kServiceUnavailable, .message = "cut"};
    });
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    b.api.seed("pods", pod_with("web", uses_claim("data"), "n1"));
    (void)co_await b.api.remove(api::res("persistentvolumeclaims"), "default", "data", {});
    co_await b.rest(30);
    CHECK(b.api.find("persistentvolumeclaims", "default", "data"));
  });
}

TEST_CASE("a volume stays as long as it is bound") {
  Storage b({make_volume_protection});
  b.run([&]() -> Task<void> {
    b.add_volume(volume("disk"));
    co_await b.rest();
    CHECK(b.api.find("persistentvolumes", "", "disk")->finalizers() ==
          std::vector<std::string>{"kubernetes.io/pv-protection"});
    b.api.set_status("persistentvolumes", "", "disk", {{"phase", "Bound"}});
    co_await b.rest();
    (void)co_await b.api.remove(api::res("persistentvolumes"), "", "disk", {});
    co_await b.rest();
    REQUIRE(b.api.find("persistentvolumes", "", "disk"));
    b.api.set_status("persistentvolumes", "", "disk", {{"phase", "Released"}});
    co_await b.rest();
    CHECK_FALSE(b.api.find("persistentvolumes", "", "disk"));
  });
}

// Ephemeral claims and growth -----------------------------------------------------------------------------------------

TEST_CASE("a pod's ephemeral volume gets a claim of the pod's own") {
  Storage b({make_ephemeral_volumes});
  b.run([&]() -> Task<void> {
    const Json spec = at(claim("x"), "spec");
    const Json volumes = Json::array(
        {{{"name", "scratch"},
          {"ephemeral", {{"volumeClaimTemplate", {{"metadata", {{"labels", {{"a", "b"}}}}}, {"spec", spec}}}}}}});
    b.api.seed("pods", pod_with("web", volumes));
    co_await b.rest();
    const auto made = b.api.find("persistentvolumeclaims", "default", "web-scratch");
    REQUIRE(made);
    REQUIRE(made->controller() != nullptr);
    CHECK(made->controller()->kind == "Pod");
    CHECK(made->controller()->uid == b.api.find("pods", "default", "web")->uid());
    CHECK(made->label("a") == "b");
    CHECK(at(made->parse(), "spec") == spec);
    // Deleted under the pod, it is made again.
    b.api.erase("persistentvolumeclaims", "default", "web-scratch");
    co_await b.rest();
    CHECK(b.api.find("persistentvolumeclaims", "default", "web-scratch"));
    // A claim of that name that is not the pod's is not used.
    b.add_claim(claim("db-scratch"));
    co_await b.rest();
    b.api.seed("pods", pod_with("db", volumes));
    co_await b.rest();
    REQUIRE_FALSE(b.events("FailedBinding").empty());
    CHECK(b.events("FailedBinding")[0] ==
          "ephemeral volume scratch: PVC default/db-scratch was not created for pod default/db (pod is not owner)");
  });
}

TEST_CASE("growth of volumes that others made is left to them") {
  Storage b({make_volume_binding, make_volume_expand});
  b.run([&]() -> Task<void> {
    b.add_volume(volume("disk", "2Gi"));
    b.add_claim(claim("data"));
    co_await b.rest();
    REQUIRE(b.phase("data") == "Bound");
    b.edit("persistentvolumeclaims", "default", "data",
           [](Json& value) { value["spec"]["resources"]["requests"]["storage"] = "2Gi"; });
    co_await b.rest();
    CHECK(b.events("ExternalExpanding").empty());  // it has that much
    b.edit("persistentvolumeclaims", "default", "data",
           [](Json& value) { value["spec"]["resources"]["requests"]["storage"] = "3Gi"; });
    co_await b.rest();
    CHECK(b.events("ExternalExpanding") ==
          std::vector<std::string>{"waiting for an external controller to expand this PVC"});
    CHECK(str(at(b.claim_of("data"), "status", "capacity"), "storage") == "2Gi");
  });
}

namespace {

// A claim "data" bound to a volume of the built-in provisioner, both of 1Gi.
Task<void> bind_local(Storage& b) {
  Json made = volume("disk", "1Gi");
  made["metadata"]["annotations"] = {{std::string(client::kProvisionedBy), api::kLocalPath}};
  b.add_volume(std::move(made));
  b.add_claim(claim("data"));
  co_await b.rest();
}

void ask_for(Storage& b, const char* size) {
  b.edit("persistentvolumeclaims", "default", "data",
         [size](Json& value) { value["spec"]["resources"]["requests"]["storage"] = size; });
}

}  // namespace

TEST_CASE("a claim on a volume of the built-in provisioner grows") {
  Storage b({make_volume_binding, make_volume_expand});
  b.run([&]() -> Task<void> {
    co_await bind_local(b);
    REQUIRE(b.phase("data") == "Bound");
    ask_for(b, "3Gi");
    co_await b.rest();
    CHECK(str(at(b.volume_of("disk"), "spec", "capacity"), "storage") == "3Gi");
    const Json status = at(b.claim_of("data"), "status");
    CHECK(str(at(status, "capacity"), "storage") == "3Gi");
    CHECK(str(at(status, "allocatedResources"), "storage") == "3Gi");
    CHECK_FALSE(status.contains("allocatedResourceStatuses"));
    CHECK_FALSE(status.contains("conditions"));
    CHECK(b.events("VolumeResizeSuccessful") ==
          std::vector<std::string>{"ExpandVolume succeeded for volume default/data"});
    CHECK(b.events("ExternalExpanding").empty());
    ask_for(b, "4Gi");
    co_await b.rest();
    CHECK(str(at(b.claim_of("data"), "status", "capacity"), "storage") == "4Gi");
  });
}

TEST_CASE("a growth that failed halfway is finished, to the size that it began with") {
  Storage b({make_volume_binding, make_volume_expand});
  b.run([&]() -> Task<void> {
    co_await bind_local(b);
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "patch" || call.resource != "persistentvolumes") return std::nullopt;
      return Error{Code::kInternal, "the disk is full"};
    });
    ask_for(b, "3Gi");
    co_await b.rest();
    REQUIRE_FALSE(b.events("VolumeResizeFailed").empty());
    CHECK(b.events("VolumeResizeFailed")[0] == "error expanding pvc default/data: the disk is full");
    const Json status = at(b.claim_of("data"), "status");
    CHECK(str(at(status, "capacity"), "storage") == "1Gi");
    CHECK(str(at(status, "allocatedResourceStatuses"), "storage") == "ControllerResizeInProgress");
    CHECK(client::condition_true(status, "Resizing"));
    ask_for(b, "2Gi");  // less than was begun
    b.api.clear_reactors();
    b.clock.advance(5min);
    co_await b.rest();
    CHECK(str(at(b.volume_of("disk"), "spec", "capacity"), "storage") == "3Gi");
    CHECK(str(at(b.claim_of("data"), "status", "capacity"), "storage") == "3Gi");
    CHECK(b.events("VolumeResizeSuccessful").size() == 1);
    // What somebody has made of the status does not take away what the claim has.
    b.edit("persistentvolumeclaims", "default", "data", [](Json& value) {
      value["status"]["allocatedResourceStatuses"] = {{"storage", "ControllerResizeInProgress"}};
      value["status"].erase("allocatedResources");
    });
    co_await b.rest();
    CHECK(str(at(b.claim_of("data"), "status", "capacity"), "storage") == "3Gi");
    CHECK_FALSE(at(b.claim_of("data"), "status").contains("allocatedResourceStatuses"));
  });
}

// The built-in provisioner --------------------------------------------------------------------------------------------

namespace {

void add_node(Bench& b, const std::string& name, bool keeps_volumes = true) {
  Json node = {{"metadata", {{"name", name}, {"labels", {{"kubernetes.io/hostname", name + "-host"}}}}},
               {"spec", Json::object()},
               {"status", {{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}}};
  if (keeps_volumes) node["metadata"]["annotations"][api::kLocalPathDirectory] = "/var/lib/brume/storage";
  b.api.seed("nodes", node);
}

Json local_claim(const std::string& name, const std::string& node, const Json& more = Json::object()) {
  Json out = claim(name, "1Gi", {{"storageClassName", "local-path"}});
  out["spec"].update(more);
  out["metadata"]["annotations"][client::kStorageProvisioner] = api::kLocalPath;
  if (!node.empty()) out["metadata"]["annotations"][client::kSelectedNode] = node;
  return out;
}

struct Provisioner : Storage {
  explicit Provisioner(const char* mode = "WaitForFirstConsumer",
                       std::vector<Make> makers = {make_volume_binding, make_local_path, make_volume_protection})
      : Storage(std::move(makers)) {
    api.seed("storageclasses.storage.k8s.io", storage_class("local-path", std::string(api::kLocalPath), mode));
    add_node(*this, "n1");
  }
};

}  // namespace

TEST_CASE("a claim with a chosen node gets a volume on that node's disk") {
  Provisioner b;
  b.run([&]() -> Task<void> {
    b.add_claim(local_claim("data", "n1"));
    co_await b.rest();
    REQUIRE(b.phase("data") == "Bound");
    const std::string name = b.volume_name("data");
    const Json bound = b.claim_of("data");
    CHECK(name == "pvc-" + std::string(str(at(bound, "metadata"), "uid")));
    const Json made = b.volume_of(name.c_str());
    CHECK(str(at(made, "spec", "local"), "path") == "/var/lib/brume/storage/" + name + "_default_data");
    CHECK(str(at(made, "spec"), "persistentVolumeReclaimPolicy") == "Delete");
    CHECK(str(at(made, "spec"), "storageClassName") == "local-path");
    CHECK(b.annotation(made, client::kProvisionedBy) == "brume.dev/local-path");
    CHECK(str(at(made, "metadata", "labels"), api::kLocalPathNode) == "n1");
    const auto view = client::decode_volume(*b.api.find("persistentvolumes", "", name));
    CHECK(view.allows(*b.api.find("nodes", "", "n1")));
    add_node(b, "n2");
    CHECK_FALSE(view.allows(*b.api.find("nodes", "", "n2")));
  });
}

TEST_CASE("what a directory cannot be is refused") {
  // Alone: on a clock that stands still the events of two reporters would have the same names.
  Provisioner b("WaitForFirstConsumer", {make_local_path});
  b.run([&]() -> Task<void> {
    b.add_claim(local_claim("good", "n1"));
    co_await b.rest();
    const Json good = b.claim_of("good");
    CHECK(b.events("ProvisioningSucceeded") == std::vector<std::string>{"Successfully provisioned volume pvc-" +
                                                                        std::string(str(at(good, "metadata"), "uid"))});
    b.add_claim(local_claim("shared", "n1", {{"accessModes", Json::array({"ReadWriteMany"})}}));
    b.add_claim(local_claim("raw", "n1", {{"volumeMode", "Block"}}));
    b.add_claim(local_claim("picky", "n1", {{"selector", {{"matchLabels", {{"a", "b"}}}}}}));
    b.add_claim(local_claim("copy", "n1", {{"dataSource", {{"kind", "PersistentVolumeClaim"}, {"name", "x"}}}}));
    add_node(b, "n2", false);
    b.add_claim(local_claim("elsewhere", "n2"));
    b.add_claim(local_claim("nowhere", "n3"));
    co_await b.rest();
    CHECK(b.api.all("persistentvolumes").size() == 1);
    CHECK(b.events("ProvisioningFailed").size() == 6);
    CHECK(std::ranges::count(b.events("ProvisioningFailed"),
                             "failed to provision volume with StorageClass \"local-path\": only the access modes "
                             "ReadWriteOnce and ReadWriteOncePod are supported") == 1);
    // The scheduler chooses again.
    CHECK(b.annotation(b.claim_of("elsewhere"), client::kSelectedNode).empty());
    CHECK(b.annotation(b.claim_of("nowhere"), client::kSelectedNode).empty());
    CHECK(b.annotation(b.claim_of("raw"), client::kSelectedNode) == "n1");
  });
}

TEST_CASE("a class that does not wait gets the node with the fewest volumes") {
  Provisioner b("Immediate");
  b.run([&]() -> Task<void> {
    add_node(b, "n2");
    b.add_claim(local_claim("a", ""));
    co_await b.rest();
    b.add_claim(local_claim("b", ""));
    co_await b.rest();
    REQUIRE(b.phase("b") == "Bound");
    const auto all = b.api.all("persistentvolumes");
    REQUIRE(all.size() == 2);
    CHECK(all[0]->label(api::kLocalPathNode) != all[1]->label(api::kLocalPathNode));
  });
}

TEST_CASE("a released volume waits for its node to delete the directory") {
  Provisioner b;
  b.run([&]() -> Task<void> {
    b.add_claim(local_claim("data", "n1"));
    co_await b.rest();
    const std::string name = b.volume_name("data");
    b.api.erase("persistentvolumeclaims", "default", "data");
    co_await b.rest();
    auto left = b.api.find("persistentvolumes", "", name);
    REQUIRE(left);
    CHECK(left->deleting());
    CHECK(left->finalizers() == std::vector<std::string>{"brume.dev/local-path"});
    CHECK(b.volume_phase(name.c_str()) == "Released");
    // The disk is gone with its node.
    b.api.erase("nodes", "", "n1");
    co_await b.rest();
    CHECK_FALSE(b.api.find("persistentvolumes", "", name));
  });
}

TEST_CASE("a volume that is retained in the moment of its deletion stays") {
  Provisioner b;
  b.run([&]() -> Task<void> {
    b.add_claim(local_claim("data", "n1"));
    co_await b.rest();
    const std::string name = b.volume_name("data");
    int deletions = 0;
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "delete" || call.resource != "persistentvolumes" || deletions++ > 0) return {};
      b.edit("persistentvolumes", "", name,
             [](Json& value) { value["spec"]["persistentVolumeReclaimPolicy"] = "Retain"; });
      return {};
    });
    b.api.erase("persistentvolumeclaims", "default", "data");
    co_await b.rest(20);
    CHECK(deletions == 1);
    REQUIRE(b.api.find("persistentvolumes", "", name));
    CHECK_FALSE(b.api.find("persistentvolumes", "", name)->deleting());
  });
}

TEST_CASE("a claim whose volume went before it was bound gets another") {
  Provisioner b("WaitForFirstConsumer", {make_local_path});
  b.run([&]() -> Task<void> {
    b.add_claim(local_claim("data", "n1"));
    co_await b.rest();
    auto volumes = b.api.all("persistentvolumes");
    REQUIRE(volumes.size() == 1);
    const auto first = volumes[0];
    b.api.erase("persistentvolumes", "", first->name());
    co_await b.rest();
    volumes = b.api.all("persistentvolumes");
    REQUIRE(volumes.size() == 1);
    CHECK(volumes[0]->name() == first->name());
    CHECK(volumes[0]->uid() != first->uid());
    const Json again = volumes[0]->parse();
    CHECK(str(at(again, "spec", "claimRef"), "name") == "data");
    // One that is bound does not: its data is gone, and a fresh directory would hide that.
    b.edit("persistentvolumeclaims", "default", "data",
           [&](Json& value) { value["spec"]["volumeName"] = first->name(); });
    co_await b.rest();
    b.api.erase("persistentvolumes", "", first->name());
    co_await b.rest();
    CHECK(b.api.all("persistentvolumes").empty());
  });
}

TEST_CASE("a retained volume of the provisioner stays") {
  Provisioner b;
  b.run([&]() -> Task<void> {
    b.add_claim(local_claim("data", "n1"));
    co_await b.rest();
    const std::string name = b.volume_name("data");
    b.edit("persistentvolumes", "", name,
           [](Json& value) { value["spec"]["persistentVolumeReclaimPolicy"] = "Retain"; });
    b.api.erase("persistentvolumeclaims", "default", "data");
    co_await b.rest();
    CHECK(b.volume_phase(name.c_str()) == "Released");
    CHECK_FALSE(b.api.find("persistentvolumes", "", name)->deleting());
  });
}

TEST_CASE("names of directories") {
  CHECK(client::local_path_name("pvc-1", "default", "data") == "pvc-1_default_data");
  const auto longest = client::local_path_name("pvc-1", std::string(63, 'n'), std::string(253, 'c'));
  CHECK(longest.size() == 255);
  CHECK(longest.starts_with("pvc-1_n"));
}
