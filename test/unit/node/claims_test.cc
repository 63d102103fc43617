// Volumes of claims: the wait until they are bound, what is mounted how, and the directories of brume.dev/local-path.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "agent/storage_keeper.h"
#include "brume/api/local_path.h"
#include "brume/client/volumes.h"
#include "volumes/claims.h"
#include "volumes/local_path.h"
#include "worker_fixture.h"

using namespace brume;
using namespace brume::node;
using namespace brume::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

Json pod_with_claim(const Json& source = {{"persistentVolumeClaim", {{"claimName", "data"}}}}) {
  Json pod = WorkerFixture::pod_json();
  Json volume = source;
  volume["name"] = "v";
  pod["spec"]["volumes"] = Json::array({volume});
  pod["spec"]["containers"][0]["volumeMounts"] = Json::array({{{"name", "v"}, {"mountPath", "/data"}}});
  return pod;
}

// A claim and its volume, bound to each other.
struct Pair {
  Json claim = {{"metadata", {{"name", "data"}, {"namespace", "default"}, {"uid", "claim-uid"}}},
                {"spec", {{"volumeName", "disk"}, {"accessModes", Json::array({"ReadWriteOnce"})}}},
                {"status", {{"phase", "Bound"}}}};
  Json volume = {{"metadata", {{"name", "disk"}, {"uid", "volume-uid"}}},
                 {"spec",
                  {{"accessModes", Json::array({"ReadWriteOnce"})},
                   {"volumeMode", "Filesystem"},
                   {"claimRef", {{"namespace", "default"}, {"name", "data"}, {"uid", "claim-uid"}}}}},
                 {"status", {{"phase", "Bound"}}}};

  void seed(WorkerFixture& f) const {
    f.client.seed("persistentvolumes", volume);
    f.client.seed("persistentvolumeclaims", claim);
  }
};

Pair local_pair(const std::string& path) {
  Pair out;
  out.volume["spec"]["local"] = {{"path", path}};
  return out;
}

Pair provisioned_pair(const std::string& path) {
  Pair pair = local_pair(path);
  pair.volume["metadata"]["annotations"] = {{std::string(client::kProvisionedBy), api::kLocalPath}};
  pair.volume["metadata"]["labels"] = {{std::string(api::kLocalPathNode), "node1"}};
  return pair;
}

Json node_with(const Json& labels) { return {{"metadata", {{"name", "node1"}, {"labels", labels}}}}; }

// The bind mount at /data of the container that was started.
Json mount_at_data(const WorkerFixture& f) {
  for (const Json& mount : f.runtime.specs.at("app").oci.at("mounts")) {
    if (str(mount, "destination") == "/data") return mount;
  }
  return {};
}

bool has_option(const Json& mount, const char* option) {
  const Json& options = at(mount, "options");
  return std::find(options.begin(), options.end(), Json(option)) != options.end();
}

void with_node(std::function<Task<void>(WorkerFixture&)> body) {
  run([body]() -> Task<void> {
    WorkerFixture f(co_await boost::asio::this_coro::executor);
    f.client.seed("nodes", node_with({{"kubernetes.io/hostname", "node1"}}));
    fs::create_directories(f.dir / "disk");
    co_await body(f);
    co_await f.done();
  });
}

mode_t mode_of(const fs::path& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
}

gid_t group_of(const fs::path& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0 ? st.st_gid : 0;
}

}  // namespace

TEST_CASE("a pod waits for its claim, says so once, and starts when it is bound") {
  with_node([](WorkerFixture& f) -> Task<void> {
    f.start(pod_with_claim());
    bool ok = co_await f.until([&] {
      return f.has_event("FailedMount",
                         "Unable to attach or mount volumes: unmounted volumes=[v], unattached "
                         "volumes=[], failed to process volumes=[v]: error processing PVC default/data: "
                         "failed to fetch PVC from API server: ");
    });
    REQUIRE(ok);
    Pair pair = local_pair((f.dir / "disk").string());
    pair.claim["status"]["phase"] = "Pending";
    pair.seed(f);
    f.clock.advance(1100ms);
    ok = co_await f.until(
        [&] { return f.has_event("FailedMount", "error processing PVC default/data: PVC is not bound"); });
    REQUIRE(ok);
    for (int i = 0; i < 5; ++i) {
      f.clock.advance(1100ms);
      co_await settle(60);
    }
    int told = 0;
    for (const auto& event : f.client.all("events")) {
      const Json value = event->parse();
      if (str(value, "reason") == "FailedMount") told += static_cast<int>(num(value, "count", 1));
    }
    CHECK(told == 2);
    pair.claim["status"]["phase"] = "Bound";
    pair.seed(f);
    f.clock.advance(1100ms);
    ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    CHECK(str(mount_at_data(f), "source") == (f.dir / "disk").string());
    CHECK(has_option(mount_at_data(f), "rw"));
  });
}

TEST_CASE("why a volume cannot be used is said in the kubelet's words") {
  struct Case {
    std::function<void(Json& claim, Json& volume, Json& pod)> change;
    std::string text;
  };
  const std::vector<Case> cases = {
      {[](Json&, Json& volume, Json&) { volume["spec"].erase("claimRef"); },
       "found PV object disk but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"},
      {[](Json&, Json& volume, Json&) { volume["spec"]["claimRef"]["uid"] = "other"; },
       "found PV object disk but its pv.Spec.ClaimRef.UID other does not point to claim.UID claim-uid"},
      {[](Json& claim, Json&, Json&) { claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"; },
       "PVC is being deleted"},
      {[](Json&, Json& volume, Json&) {
         volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"] = Json::array(
             {{{"matchExpressions",
                Json::array({{{"key", "kubernetes.io/hostname"}, {"operator", "In"}, {"values", {"node2"}}}})}}});
       },
       "MountVolume.NodeAffinity check failed for volume \"disk\" : no matching NodeSelectorTerms"},
      {[](Json&, Json& volume, Json&) { volume["spec"]["volumeMode"] = "Block"; },
       "volume v has volumeMode Block, but is specified in volumeMounts"},
      {[](Json&, Json&, Json& pod) {
         pod["spec"]["volumes"][0].erase("persistentVolumeClaim");
         pod["spec"]["volumes"][0]["ephemeral"] = Json::object();
       },
       "failed to fetch PVC from API server: persistentvolumeclaims \"web-v\" not found"},
      {[](Json&, Json& volume, Json&) { volume["spec"]["local"]["path"] = "/nowhere/at/all"; },
       "MountVolume.NewMounter initialization failed for volume \"disk\" : path \"/nowhere/at/all\" does not exist"},
      {[](Json&, Json& volume, Json&) {
         volume["spec"].erase("local");
         volume["spec"]["hostPath"] = {{"path", "/tmp"}};
         volume["spec"]["mountOptions"] = Json::array({"noexec"});
       },
       "MountVolume.SetUp failed for volume \"v\" : Mount options are not supported for this volume type"},
      {[](Json&, Json& volume, Json&) {
         volume["spec"].erase("local");
         volume["spec"]["nfs"] = {{"server", "s"}, {"path", "/"}};
       },
       "volume type nfs is not supported yet by this node"},
  };
  for (const auto& one : cases) {
    with_node([&](WorkerFixture& f) -> Task<void> {
      Pair pair = local_pair((f.dir / "disk").string());
      Json pod = pod_with_claim();
      one.change(pair.claim, pair.volume, pod);
      pair.seed(f);
      f.start(pod);
      INFO(one.text);
      const bool ok = co_await f.until([&] { return f.has_event("FailedMount", one.text); });
      CHECK(ok);
      CHECK(f.runtime.starts("app") == 0);
    });
  }
}

TEST_CASE("a claim of a generic ephemeral volume must be the pod's own") {
  with_node([](WorkerFixture& f) -> Task<void> {
    Pair pair = local_pair((f.dir / "disk").string());
    pair.claim["metadata"]["name"] = "web-v";
    pair.seed(f);
    f.start(pod_with_claim({{"ephemeral", Json::object()}}));
    const bool ok = co_await f.until([&] {
      return f.has_event("FailedMount", "PVC default/web-v was not created for pod default/web (pod is not owner)");
    });
    CHECK(ok);
  });
}

TEST_CASE("readOnly of a claim holds for all its mounts, and options of a local volume go along") {
  with_node([](WorkerFixture& f) -> Task<void> {
    Pair pair = local_pair((f.dir / "disk").string());
    pair.volume["spec"]["mountOptions"] = Json::array({"noexec"});
    pair.seed(f);
    f.start(pod_with_claim({{"persistentVolumeClaim", {{"claimName", "data"}, {"readOnly", true}}}}));
    const bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    CHECK(has_option(mount_at_data(f), "ro"));
    CHECK(has_option(mount_at_data(f), "noexec"));
  });
}

TEST_CASE("a claim with ReadWriteOncePod is one pod's at a time") {
  with_node([](WorkerFixture& f) -> Task<void> {
    Pair pair = local_pair((f.dir / "disk").string());
    pair.volume["spec"]["accessModes"] = Json::array({"ReadWriteOncePod"});
    pair.seed(f);
    f.context->volume_uses.add("disk", "another pod");
    f.start(pod_with_claim());
    bool ok = co_await f.until([&] {
      return f.has_event("FailedMount",
                         "MountVolume.SetUp failed for volume \"disk\" : volume uses the ReadWriteOncePod access mode "
                         "and is already in use by another pod");
    });
    REQUIRE(ok);
    f.context->volume_uses.release("another pod");
    f.clock.advance(1100ms);
    ok = co_await f.until([&] { return f.phase() == "Running"; });
    CHECK(ok);
    CHECK(f.context->volume_uses.by_others("disk", "somebody"));
  });
}

TEST_CASE("a worker that takes a pod over finds its volumes again") {
  with_node([](WorkerFixture& f) -> Task<void> {
    local_pair((f.dir / "disk").string()).seed(f);
    f.start(pod_with_claim());
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    co_await f.restart();
    f.runtime.finish("app", 1);
    ok = co_await f.until([&] { return num(f.container(), "restartCount") == 1; });
    f.clock.advance(11s);
    ok = co_await f.until([&] { return f.runtime.starts("app") == 2; });
    REQUIRE(ok);
    CHECK(str(mount_at_data(f), "source") == (f.dir / "disk").string());
  });
}

TEST_CASE("local volumes get the pod's group, unless another pod has them") {
  with_node([](WorkerFixture& f) -> Task<void> {
    const fs::path disk = f.dir / "disk";
    std::ofstream(disk / "file") << "x";
    local_pair(disk.string()).seed(f);
    Json pod = pod_with_claim();
    pod["spec"]["securityContext"]["fsGroup"] = 4321;
    f.context->volume_uses.add("disk", "another pod");
    f.start(pod);
    bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    CHECK(group_of(disk) != 4321);
    CHECK(f.has_event("AlreadyMountedVolume",
                      "The requested fsGroup is 4321, but the volume disk has GID 0. The volume "
                      "may not be shareable."));
  });
}

TEST_CASE("the directory of a volume of this node is made, and one elsewhere is refused") {
  with_node([](WorkerFixture& f) -> Task<void> {
    const std::string storage = f.options.storage_dir();
    Pair pair = provisioned_pair(storage + "/disk_default_data");
    pair.seed(f);
    f.start(pod_with_claim());
    const bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    CHECK(mode_of(storage + "/disk_default_data") == 0777);
    CHECK(mode_of(storage) == 0711);
    pair.volume["spec"]["local"]["path"] = "/etc";
    CHECK_FALSE(local_path_of(pair.volume, f.options).has_value());
    f.options.node_name = "node2";
    CHECK(local_path_of(pair.volume, f.options).value().empty());
  });
}

TEST_CASE("a volume is found by the link through which the data directory was given") {
  with_node([](WorkerFixture& f) -> Task<void> {
    f.options.storage_path = "/srv/link/storage";
    Pair pair = provisioned_pair("/srv/link/storage/disk_default_data");
    pair.seed(f);
    f.start(pod_with_claim());
    const bool ok = co_await f.until([&] { return f.phase() == "Running"; });
    REQUIRE(ok);
    CHECK(mode_of(f.options.storage_dir() + "/disk_default_data") == 0777);
    pair.volume["spec"]["local"]["path"] = "/srv/link/storage/disk_default_data/etc";
    CHECK_FALSE(local_path_of(pair.volume, f.options).has_value());
  });
}

// Directories ---------------------------------------------------------------------------------------------------------

TEST_CASE("directories of local volumes are made once and removed whole") {
  const fs::path dir = fs::temp_directory_path() / ("brume-local-" + random_suffix(8));
  const std::string storage = (dir / "storage").string();
  REQUIRE(make_local_path(storage, "a_b_c").has_value());
  const fs::path made = fs::path(storage) / "a_b_c";
  CHECK(mode_of(made) == 0777);
  REQUIRE(::chmod(made.c_str(), 0700) == 0);
  std::ofstream(made / "kept") << "x";
  REQUIRE(make_local_path(storage, "a_b_c").has_value());
  CHECK(mode_of(made) == 0700);  // whatever its users made of it
  CHECK(fs::exists(made / "kept"));
  for (const char* bad : {"", ".", "..", "a/b", "../x"}) {
    CHECK(make_local_path(storage, bad).error().code == Code::kInvalid);
    CHECK(remove_local_path(storage, bad).error().code == Code::kInvalid);
  }
  // Neither a symlink in it nor a mount leads the removal astray.
  fs::create_directories(dir / "precious");
  std::ofstream(dir / "precious" / "data") << "x";
  fs::create_directory_symlink(dir / "precious", made / "link");
  fs::create_directories(made / "mounted");
  REQUIRE(::mount((dir / "precious").c_str(), (made / "mounted").c_str(), nullptr, MS_BIND, nullptr) == 0);
  REQUIRE(remove_local_path(storage, "a_b_c").has_value());
  CHECK_FALSE(fs::exists(made));
  CHECK(fs::exists(dir / "precious" / "data"));
  CHECK(remove_local_path(storage, "a_b_c").has_value());
  // A symlink in the directory's place is not followed.
  fs::create_directory_symlink(dir / "precious", fs::path(storage) / "x_y_z");
  CHECK_FALSE(make_local_path(storage, "x_y_z").has_value());
  CHECK(remove_local_path(storage, "x_y_z").has_value());
  CHECK(fs::exists(dir / "precious" / "data"));
  fs::remove_all(dir);
}

TEST_CASE("a tree is given to a group") {
  const fs::path dir = fs::temp_directory_path() / ("brume-group-" + random_suffix(8));
  fs::create_directories(dir / "tree" / "sub");
  fs::create_directories(dir / "out");
  std::ofstream(dir / "tree" / "sub" / "file") << "x";
  std::ofstream(dir / "out" / "file") << "x";
  REQUIRE(::chmod((dir / "tree" / "sub" / "file").c_str(), 0600) == 0);
  REQUIRE(::chmod((dir / "out" / "file").c_str(), 0600) == 0);
  fs::create_symlink(dir / "out" / "file", dir / "tree" / "link");
  fs::create_directory_symlink(dir / "tree", dir / "way");
  REQUIRE(give_to_group((dir / "way").string(), 777, false).has_value());
  CHECK(group_of(dir / "tree") == 777);
  CHECK((mode_of(dir / "tree") & 02770) == 02770);
  CHECK(group_of(dir / "tree" / "sub") == 777);
  CHECK((mode_of(dir / "tree" / "sub") & 02770) == 02770);
  CHECK(group_of(dir / "tree" / "sub" / "file") == 777);
  CHECK(mode_of(dir / "tree" / "sub" / "file") == 0660);
  CHECK(group_of(dir / "tree" / "link") == 777);
  CHECK(group_of(dir / "out" / "file") != 777);
  CHECK(mode_of(dir / "out" / "file") == 0600);
  // OnRootMismatch looks at the root alone.
  REQUIRE(::chown((dir / "tree" / "sub" / "file").c_str(), 0, 0) == 0);
  REQUIRE(give_to_group((dir / "tree").string(), 777, true).has_value());
  CHECK(group_of(dir / "tree" / "sub" / "file") == 0);
  REQUIRE(give_to_group((dir / "tree").string(), 777, false).has_value());
  CHECK(group_of(dir / "tree" / "sub" / "file") == 777);
  fs::remove_all(dir);
}

// The keeper ----------------------------------------------------------------------------------------------------------

namespace {

Json deleted_volume(const std::string& storage, const char* policy) {
  return {{"metadata",
           {{"name", "disk"},
            {"deletionTimestamp", "2026-01-01T00:00:00Z"},
            {"labels", {{std::string(api::kLocalPathNode), "node1"}}},
            {"annotations", {{std::string(client::kProvisionedBy), api::kLocalPath}}},
            {"finalizers", Json::array({client::kVolumeProtection, api::kLocalPath})}}},
          {"spec",
           {{"persistentVolumeReclaimPolicy", policy},
            {"claimRef", {{"namespace", "default"}, {"name", "data"}, {"uid", "u"}}},
            {"local", {{"path", storage + "/disk_default_data"}}}}}};
}

void with_keeper(std::function<Task<void>(FakeClient&, FakeClock&, const std::string& storage)> body) {
  const fs::path dir = fs::temp_directory_path() / ("brume-keeper-" + random_suffix(8));
  run([&]() -> Task<void> {
    FakeClock clock;
    FakeClient client(clock);
    NodeOptions options;
    options.node_name = "node1";
    options.data_dir = dir.string();
    (void)make_local_path(options.storage_dir(), "disk_default_data");
    StorageKeeper keeper(options, client, clock, co_await boost::asio::this_coro::executor);
    keeper.start();
    co_await settle(50);
    co_await body(client, clock, options.storage_dir());
    client.clear_reactors();  // they look at what the body had
    co_await keeper.stop();
  });
  fs::remove_all(dir);
}

void drop_protection(FakeClient& client) {
  Json value = client.json("persistentvolumes", "", "disk");
  value["metadata"]["finalizers"] = Json::array({api::kLocalPath});
  client.seed("persistentvolumes", value);
}

}  // namespace

TEST_CASE("a deleted volume's directory goes when no claim has it any more") {
  with_keeper([](FakeClient& client, FakeClock&, const std::string& storage) -> Task<void> {
    client.seed("persistentvolumes", deleted_volume(storage, "Delete"));
    co_await settle(100);
    CHECK(fs::exists(storage + "/disk_default_data"));
    drop_protection(client);
    const bool gone = co_await eventually([&] { return !client.find("persistentvolumes", "", "disk"); });
    CHECK(gone);
    CHECK_FALSE(fs::exists(storage + "/disk_default_data"));
  });
}

TEST_CASE("a retained volume's directory stays when the volume is deleted") {
  with_keeper([](FakeClient& client, FakeClock&, const std::string& storage) -> Task<void> {
    client.seed("persistentvolumes", deleted_volume(storage, "Retain"));
    drop_protection(client);
    const bool gone = co_await eventually([&] { return !client.find("persistentvolumes", "", "disk"); });
    CHECK(gone);
    CHECK(fs::exists(storage + "/disk_default_data"));
  });
}

TEST_CASE("a directory that is not the node's to delete stays, and so does its volume") {
  with_keeper([](FakeClient& client, FakeClock&, const std::string& storage) -> Task<void> {
    Json value = deleted_volume(storage, "Delete");
    value["spec"]["local"]["path"] = storage + "/other";
    client.seed("persistentvolumes", value);
    drop_protection(client);
    const bool told = co_await eventually([&] { return !client.all("events").empty(); });
    REQUIRE(told);
    const Json event = client.all("events").front()->parse();
    CHECK(str(event, "reason") == "VolumeFailedDelete");
    CHECK(client.find("persistentvolumes", "", "disk"));
    CHECK(fs::exists(storage + "/disk_default_data"));
  });
}

TEST_CASE("a volume that was retained since the last event keeps its directory") {
  with_keeper([](FakeClient& client, FakeClock&, const std::string& storage) -> Task<void> {
    // The keeper's copy says Delete, and so would any that came before this call.
    client.seed("persistentvolumes", deleted_volume(storage, "Delete"));
    co_await settle(50);
    bool once = true;
    client.react([&](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.resource != "persistentvolumes" || call.verb != "get" || !std::exchange(once, false)) return {};
      Json value = client.json("persistentvolumes", "", "disk");
      value["spec"]["persistentVolumeReclaimPolicy"] = "Retain";
      client.seed("persistentvolumes", value);
      return {};
    });
    drop_protection(client);
    const bool gone = co_await eventually([&] { return !client.find("persistentvolumes", "", "disk"); });
    CHECK(gone);
    CHECK_FALSE(once);
    CHECK(fs::exists(storage + "/disk_default_data"));
  });
}

TEST_CASE("another volume of that name, and one with another claim, keep their directories") {
  for (const bool reborn : {true, false}) {
    with_keeper([reborn](FakeClient& client, FakeClock&, const std::string& storage) -> Task<void> {
      client.seed("persistentvolumes", deleted_volume(storage, "Delete"));
      co_await settle(50);
      bool once = true;
      client.react([&](const FakeClient::Call& call) -> std::optional<Error> {
        if (call.resource != "persistentvolumes" || call.verb != "get" || !std::exchange(once, false)) return {};
        Json value = client.json("persistentvolumes", "", "disk");
        if (reborn) {
          client.erase("persistentvolumes", "", "disk");
          value["metadata"]["uid"] = "another";
          value["metadata"].erase("deletionTimestamp");
        } else {
          value["spec"]["claimRef"]["uid"] = "v";
          value["metadata"]["finalizers"].push_back(client::kVolumeProtection);
        }
        client.seed("persistentvolumes", value);
        return {};
      });
      drop_protection(client);
      co_await settle(300);
      CHECK_FALSE(once);
      CHECK(client.find("persistentvolumes", "", "disk"));
      CHECK(fs::exists(storage + "/disk_default_data"));
    });
  }
}

TEST_CASE("while the API does not say what a volume is, its directory stays") {
  with_keeper([](FakeClient& client, FakeClock& clock, const std::string& storage) -> Task<void> {
    client.seed("persistentvolumes", deleted_volume(storage, "Delete"));
    client.react([](const FakeClient::Call& call) -> std::optional<Error> {
      if (call.resource != "persistentvolumes" || call.verb != "get") return {};
      return Error{Code::kServiceUnavailable, "not now"};
    });
    drop_protection(client);
    co_await settle(300);
    CHECK(client.find("persistentvolumes", "", "disk"));
    CHECK(fs::exists(storage + "/disk_default_data"));
    client.clear_reactors();
    const bool gone = co_await eventually([&] {
      clock.advance(100ms);
      return !client.find("persistentvolumes", "", "disk");
    });
    CHECK(gone);
    CHECK_FALSE(fs::exists(storage + "/disk_default_data"));
  });
}

TEST_CASE("a directory whose volume went without this node is told of, and stays") {
  with_keeper([](FakeClient& client, FakeClock& clock, const std::string& storage) -> Task<void> {
    client.seed("nodes", {{"metadata", {{"name", "node1"}}}});
    const auto told = [&] {
      std::vector<std::string> out;
      for (const auto& event : client.all("events")) {
        const Json value = event->parse();
        CHECK(str(value, "reason") == "VolumeDirectoryAbandoned");
        out.emplace_back(str(value, "message"));
      }
      return out;
    };
    // Two more beside the one that was there at the start and is told of by then, and what is no volume's.
    REQUIRE(make_local_path(storage, "left_default_a"));
    REQUIRE(make_local_path(storage, "right_default_b"));
    REQUIRE(make_local_path(storage, "lost+found"));
    Json left = deleted_volume(storage, "Delete");
    left["metadata"]["name"] = "left";
    left["spec"]["local"]["path"] = storage + "/left_default_a";
    client.seed("persistentvolumes", left);
    Json right = left;
    right["metadata"]["name"] = "right";
    client.seed("persistentvolumes", right);
    co_await settle(100);
    const auto tells_of = [&](const std::string& name) {
      // With the one that was there at the start, if that is told of only now.
      return std::ranges::count_if(told(), [&](const std::string& text) { return text.ends_with(storage + name); });
    };
    // Somebody else let it go: the node's object was deleted, say.
    client.erase("persistentvolumes", "", "left");
    const bool more = co_await eventually([&] { return clock.advance(100ms), tells_of("/left_default_a") == 1; });
    CHECK(more);
    CHECK(fs::exists(storage + "/left_default_a"));
    // Once.
    client.erase("persistentvolumes", "", "right");
    const bool again = co_await eventually([&] { return clock.advance(100ms), tells_of("/right_default_b") == 1; });
    CHECK(again);
    CHECK(tells_of("/left_default_a") == 1);
    CHECK(fs::exists(storage + "/lost+found"));
  });
}
