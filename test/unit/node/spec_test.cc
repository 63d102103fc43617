// Pure parts: expansion, environment, users, resources, resolv.conf, OCI specs, QoS.
#include <filesystem>
#include <fstream>

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "brume/base/json.h"
#include "brume/base/random.h"
#include "catch.h"
#include "pod/pod.h"
#include "spec/env.h"
#include "spec/expansion.h"
#include "spec/oci.h"
#include "spec/pod_files.h"
#include "spec/resources.h"
#include "spec/security.h"
#include "spec/users.h"
#include "worker/image_puller.h"
#include "worker/signals.h"

using namespace brume;
using namespace brume::node;

namespace {

Json pod_of(Json container) {
  container["name"] = "app";
  return {{"metadata", {{"name", "web"}, {"namespace", "shop"}, {"uid", "u1"}, {"labels", {{"tier", "front"}}}}},
          {"spec", {{"containers", Json::array({std::move(container)})}}}};
}

std::string value_of(const EnvList& env, const std::string& name) {
  for (const auto& [key, value] : env) {
    if (key == name) return value;
  }
  return "<none>";
}

}  // namespace

TEST_CASE("expansion follows Kubernetes' rules") {
  const auto lookup = [](std::string_view name) -> std::optional<std::string> {
    if (name == "A") return "1";
    return std::nullopt;
  };
  CHECK(expand("x$(A)y", lookup) == "x1y");
  CHECK(expand("$$(A)", lookup) == "$(A)");
  CHECK(expand("$(B)", lookup) == "$(B)");
  CHECK(expand("$(A", lookup) == "$(A");
  CHECK(expand("$A $ $$ $$$(A)", lookup) == "$A $ $ $1");
}

TEST_CASE("environment: order, sources, optional and missing") {
  Json container = {
      {"envFrom", Json::array({{{"prefix", "P_"}, {"configMapRef", {{"name", "cm"}}}}})},
      {"env",
       Json::array(
           {{{"name", "ONE"}, {"value", "1"}},
            {{"name", "TWO"}, {"value", "$(ONE)$(P_k)$(DB_SERVICE_HOST)"}},
            {{"name", "NS"}, {"valueFrom", {{"fieldRef", {{"fieldPath", "metadata.namespace"}}}}}},
            {{"name", "TIER"}, {"valueFrom", {{"fieldRef", {{"fieldPath", "metadata.labels['tier']"}}}}}},
            {{"name", "CPU"}, {"valueFrom", {{"resourceFieldRef", {{"resource", "limits.cpu"}, {"divisor", "1m"}}}}}},
            {{"name", "MEM"},
             {"valueFrom", {{"resourceFieldRef", {{"resource", "requests.memory"}, {"divisor", "1Mi"}}}}}},
            {{"name", "S"}, {"valueFrom", {{"secretKeyRef", {{"name", "sec"}, {"key", "pw"}}}}}},
            {{"name", "GONE"},
             {"valueFrom", {{"secretKeyRef", {{"name", "no"}, {"key", "k"}, {"optional", true}}}}}}})},
      {"resources", {{"limits", {{"cpu", "250m"}, {"memory", "65Mi"}}}}}};
  const Json pod = pod_of(container);
  PodObjects objects;
  objects.config_maps["cm"] = {{"data", {{"k", "v"}}}};
  objects.secrets["sec"] = {{"data", {{"pw", "aHVudGVyMg=="}}}};
  const EnvList services{{"DB_SERVICE_HOST", "10.43.0.9"}};
  const auto env = make_env(pod, pod["spec"]["containers"][0], objects, services, {});
  REQUIRE(env.has_value());
  CHECK(value_of(*env, "P_k") == "v");
  CHECK(value_of(*env, "TWO") == "1v10.43.0.9");
  CHECK(value_of(*env, "NS") == "shop");
  CHECK(value_of(*env, "TIER") == "front");
  CHECK(value_of(*env, "CPU") == "250");
  CHECK(value_of(*env, "MEM") == "65");
  CHECK(value_of(*env, "S") == "hunter2");
  CHECK(value_of(*env, "GONE") == "<none>");
  const auto missing = make_env(pod, pod["spec"]["containers"][0], {}, {}, {});
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().message == "configmap \"cm\" not found");
}

TEST_CASE("service variables") {
  const Json service = {{"metadata", {{"name", "redis-primary"}}},
                        {"spec",
                         {{"clusterIP", "10.0.0.11"},
                          {"ports", Json::array({{{"name", "tcp-main"}, {"port", 6379}, {"protocol", "TCP"}}})}}}};
  Json headless = service;
  headless["spec"]["clusterIP"] = "None";
  const auto env = service_env({service, headless});
  CHECK(value_of(env, "REDIS_PRIMARY_SERVICE_HOST") == "10.0.0.11");
  CHECK(value_of(env, "REDIS_PRIMARY_SERVICE_PORT") == "6379");
  CHECK(value_of(env, "REDIS_PRIMARY_SERVICE_PORT_TCP_MAIN") == "6379");
  CHECK(value_of(env, "REDIS_PRIMARY_PORT") == "tcp://10.0.0.11:6379");
  CHECK(value_of(env, "REDIS_PRIMARY_PORT_6379_TCP_ADDR") == "10.0.0.11");
  CHECK(env.size() == 8);
}

TEST_CASE("the users of an image in use outlive a full cache") {
  UserFilesCache cache;
  const auto first = cache.add("image-0", {.passwd = "web:x:7:7::/:", .group = ""});
  CHECK(cache.find("image-0") == first);
  for (std::size_t i = 1; i <= UserFilesCache::kMost; ++i) cache.add("image-" + std::to_string(i), {});
  CHECK(cache.find("image-0") == nullptr);
  CHECK(first->passwd == "web:x:7:7::/:");
}

TEST_CASE("users: names, groups, runAsNonRoot, supplementary groups") {
  const UserFiles files{"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:w:/var/www:/bin/sh\n",
                        "root:x:0:\nweb:x:34:\nextra:x:50:web,root\n"};
  Json pod = pod_of(Json::object());
  const Json& container = pod["spec"]["containers"][0];
  auto user = resolve_user(pod, container, "web", files);
  REQUIRE(user.has_value());
  CHECK(user->uid == 33);
  CHECK(user->gid == 34);
  CHECK(user->groups == std::vector<std::uint32_t>{50});
  CHECK(user->home == "/var/www");
  CHECK(resolve_user(pod, container, "web:extra", files)->gid == 50);
  CHECK(resolve_user(pod, container, "1234", files)->uid == 1234);
  CHECK_FALSE(resolve_user(pod, container, "nobody-here", files).has_value());
  Json strict = pod;
  strict["spec"]["securityContext"] = {
      {"runAsNonRoot", true}, {"fsGroup", 2000}, {"supplementalGroups", {7}}, {"supplementalGroupsPolicy", "Strict"}};
  auto refused = resolve_user(strict, strict["spec"]["containers"][0], "", files);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message ==
        "container has runAsNonRoot and image will run as root (pod: \"web_shop(u1)\", container: app)");
  refused = resolve_user(strict, strict["spec"]["containers"][0], "web", files);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("non-numeric user (web)") != std::string::npos);
  strict["spec"]["securityContext"]["runAsUser"] = 33;
  user = resolve_user(strict, strict["spec"]["containers"][0], "", files);
  REQUIRE(user.has_value());
  CHECK(user->groups == std::vector<std::uint32_t>{7, 2000});
}

TEST_CASE("image files are found in the topmost layer and never outside of it") {
  namespace fs = std::filesystem;
  const fs::path dir = fs::temp_directory_path() / ("brume-layers-" + random_suffix(8));
  for (const char* layer : {"low", "mid", "top"}) fs::create_directories(dir / layer / "etc");
  std::ofstream(dir / "low/etc/passwd") << "low";
  std::ofstream(dir / "mid/etc/passwd") << "mid";
  std::ofstream(dir / "low/etc/group") << "group";
  const std::vector<std::string> layers{(dir / "low").string(), (dir / "mid").string(), (dir / "top").string()};
  CHECK(read_image_file(layers, "/etc/passwd").value_or("") == "mid");
  CHECK(read_image_file(layers, "/etc/group").value_or("") == "group");
  // A link to the host's file resolves inside the layer, where there is none.
  fs::create_symlink("/etc/hostname", dir / "top/etc/passwd");
  CHECK(read_image_file(layers, "/etc/passwd").value_or("") == "mid");
  fs::remove(dir / "top/etc/passwd");
  fs::create_symlink("../../../../../../etc/hostname", dir / "top/etc/passwd");
  CHECK(read_image_file(layers, "/etc/passwd").value_or("") == "mid");
  fs::remove(dir / "top/etc/passwd");
  if (::geteuid() == 0 && ::mknod((dir / "top/etc/passwd").c_str(), S_IFCHR | 0600, makedev(0, 0)) == 0) {
    CHECK_FALSE(read_image_file(layers, "/etc/passwd").has_value());  // a whiteout
  }
  fs::remove_all(dir);
}

TEST_CASE("QoS, cgroups, shares and oom_score_adj") {
  Json best = pod_of(Json::object());
  CHECK(qos_class(best) == "BestEffort");
  CHECK(pod_cgroup("brume/kubepods", best) == "brume/kubepods/besteffort/podu1");
  Json guaranteed = pod_of({{"resources", {{"limits", {{"cpu", "500m"}, {"memory", "1Gi"}}}}}});
  CHECK(qos_class(guaranteed) == "Guaranteed");
  CHECK(pod_cgroup("brume/kubepods", guaranteed) == "brume/kubepods/podu1");
  Json burst = pod_of({{"resources", {{"requests", {{"memory", "2Gi"}}}}}});
  CHECK(qos_class(burst) == "Burstable");
  const std::int64_t memory = 8LL << 30;
  CHECK(oom_score_adj(best, best["spec"]["containers"][0], memory) == 1000);
  CHECK(oom_score_adj(guaranteed, guaranteed["spec"]["containers"][0], memory) == -997);
  CHECK(oom_score_adj(burst, burst["spec"]["containers"][0], memory) == 750);
  const Json limits = container_resources(guaranteed, guaranteed["spec"]["containers"][0]);
  CHECK(str(at(limits, "unified"), "memory.oom.group") == "1");
  CHECK(limits["cpu"]["quota"] == 50000);
  CHECK(limits["cpu"]["shares"] == 512);
  CHECK(limits["memory"]["limit"] == (1LL << 30));
  CHECK(cpu_shares(0) == 2);
  Json pod = guaranteed;
  pod["spec"]["initContainers"] = Json::array({{{"name", "i"}, {"resources", {{"requests", {{"cpu", "2"}}}}}}});
  CHECK(pod_request(pod).milli_cpu == 2000);
}

TEST_CASE("resolv.conf, hosts and host names") {
  Json pod = pod_of(Json::object());
  const DnsSettings dns{{"10.43.0.10"}, "cluster.local", "nameserver 1.1.1.1\nsearch lan\noptions edns0\n"};
  CHECK(make_resolv_conf(pod, dns) ==
        "search shop.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.43.0.10\noptions ndots:5\n");
  pod["spec"]["dnsConfig"] = {{"options", Json::array({{{"name", "ndots"}, {"value", "2"}}})},
                              {"nameservers", {"9.9.9.9"}}};
  CHECK(make_resolv_conf(pod, dns).find("nameserver 9.9.9.9\noptions ndots:2\n") != std::string::npos);
  pod["spec"]["dnsPolicy"] = "Default";
  CHECK(make_resolv_conf(pod, dns).starts_with("search lan\nnameserver 1.1.1.1\n"));
  pod["spec"]["dnsPolicy"] = "None";
  CHECK(make_resolv_conf(pod, dns) == "nameserver 9.9.9.9\noptions ndots:2\n");
  pod["spec"]["hostname"] = "box";
  pod["spec"]["subdomain"] = "sub";
  auto name = make_hostname(pod, "node1", "cluster.local");
  REQUIRE(name.has_value());
  CHECK(name->hostname == "box");
  CHECK(name->domain == "sub.shop.svc.cluster.local");
  CHECK(make_hosts(pod, {"10.42.0.3"}, "box", name->domain, "")
            .find("10.42.0.3\tbox.sub.shop.svc.cluster.local\tbox\n") != std::string::npos);
  pod["spec"]["setHostnameAsFQDN"] = true;
  CHECK(make_hostname(pod, "node1", "cluster.local")->hostname == "box.sub.shop.svc.cluster.local");
  CHECK_FALSE(make_hostname(pod, "node1", std::string(60, 'd')).has_value());
}

TEST_CASE("OCI spec: command, user, capabilities, mounts, masks") {
  Json pod = pod_of({{"command", {"/bin/sh", "-c"}},
                     {"args", {"echo $(X)"}},
                     {"workingDir", "/w"},
                     {"securityContext",
                      {{"allowPrivilegeEscalation", false},
                       {"readOnlyRootFilesystem", true},
                       {"capabilities", {{"drop", {"ALL"}}, {"add", {"NET_ADMIN"}}}}}}});
  const Json image = {
      {"config",
       {{"Entrypoint", {"/entry"}}, {"Cmd", {"cmd"}}, {"Env", {"PATH=/p", "Y=img"}}, {"WorkingDir", "/img"}}}};
  const auto make = [&](const Json& p) {
    OciInputs in{
        .pod = p,
        .container = p["spec"]["containers"][0],
        .image_config = image,
        .user = {7, 8, {9}, "/home"},
        .env = {{"X", "hi"}, {"Y", "pod"}},
        .hostname = "web",
        .volumes = {{"/data/deep", "/host/deep", false, false, ""}, {"/data", "/host", true, false, "HostToContainer"}},
        .resolv_conf = "/r",
        .hosts = "/h",
        .hostname_file = "/n",
        .termination_log = "/t",
        .shm = "/s",
        .cgroup_path = "brume/kubepods/podu1/c1",
        .oom_score = 5,
        .seccomp = Json(),
        .devices = Json()};
    return make_oci_spec(in);
  };
  auto spec = make(pod);
  REQUIRE(spec.has_value());
  const Json& process = (*spec)["process"];
  CHECK(process["args"] == Json({"/bin/sh", "-c", "echo hi"}));
  CHECK(process["cwd"] == "/w");
  CHECK(process["noNewPrivileges"] == true);
  CHECK(process["capabilities"]["bounding"] == Json::array({"CAP_NET_ADMIN"}));
  CHECK_FALSE(process["capabilities"].contains("inheritable"));
  CHECK(process["user"]["additionalGids"] == Json::array({9}));
  const Json& env = process["env"];
  CHECK(std::find(env.begin(), env.end(), Json("Y=pod")) != env.end());
  CHECK(std::find(env.begin(), env.end(), Json("PATH=/p")) != env.end());
  std::vector<std::string> order;
  for (const Json& mount : (*spec)["mounts"]) order.emplace_back(str(mount, "destination"));
  CHECK(std::find(order.begin(), order.end(), "/data") < std::find(order.begin(), order.end(), "/data/deep"));
  CHECK((*spec)["linux"]["maskedPaths"].size() > 5);
  CHECK((*spec)["linux"]["rootfsPropagation"] == "rslave");
  pod["spec"]["containers"][0].erase("command");
  CHECK((*make(pod))["process"]["args"] == Json({"/entry", "echo hi"}));
  pod["spec"]["containers"][0].erase("args");
  CHECK((*make(pod))["process"]["args"] == Json({"/entry", "cmd"}));
}

TEST_CASE("OCI spec: block devices of volumes, with their rule") {
  const Json pod = {{"spec", {{"containers", Json::array({{{"name", "c"}, {"command", Json::array({"/bin/sh"})}}})}}}};
  const Json image = Json::object();
  const Json device = {{"path", "/dev/data"}, {"type", "b"},    {"major", 7}, {"minor", 3},
                       {"fileMode", 0660},    {"access", "rm"}, {"uid", 0},   {"gid", 6}};
  const auto make = [&](bool privileged) {
    Json container = pod["spec"]["containers"][0];
    container["securityContext"]["privileged"] = privileged;
    OciInputs in{.pod = pod,
                 .container = container,
                 .image_config = image,
                 .user = {0, 0, {}, "/"},
                 .env = {},
                 .hostname = "web",
                 .volumes = {},
                 .cgroup_path = "x",
                 .seccomp = Json(),
                 .devices = privileged ? Json::array({{{"path", "/dev/null"}}}) : Json(),
                 .volume_devices = Json::array({device})};
    auto spec = make_oci_spec(in);
    REQUIRE(spec);
    return at(*spec, "linux");
  };
  const Json plain = make(false);
  REQUIRE(plain["devices"].size() == 1);
  CHECK(plain["devices"][0]["path"] == "/dev/data");
  CHECK_FALSE(plain["devices"][0].contains("access"));
  CHECK(plain["resources"]["devices"].back() ==
        Json({{"allow", true}, {"type", "b"}, {"major", 7}, {"minor", 3}, {"access", "rm"}}));
  // A privileged container may use all devices anyway.
  const Json privileged = make(true);
  CHECK(privileged["devices"].size() == 2);
  CHECK(privileged["resources"]["devices"].size() == 1);
  CHECK(block_device({.host_path = "/dev/null", .path = "/dev/x"}).error().code == Code::kInvalid);
  CHECK(block_device({.host_path = "/nowhere", .path = "/dev/x"}).error().code == Code::kNotFound);
}

TEST_CASE("capabilities: defaults, add, drop, privileged") {
  const auto defaults = container_capabilities(Json::object());
  CHECK(defaults.size() == 14);
  const auto none = container_capabilities({{"securityContext", {{"capabilities", {{"drop", {"ALL"}}}}}}});
  CHECK(none.empty());
  const auto less = container_capabilities({{"securityContext", {{"capabilities", {{"drop", {"NET_RAW"}}}}}}});
  CHECK(less.size() == 13);
}

TEST_CASE("registry credentials fit by host and path") {
  const Json config = {{"auths",
                        {{"https://index.docker.io/v1/", {{"auth", "aHViOnB3"}}},
                         {"registry.example:5000", {{"username", "u"}, {"password", "p"}}},
                         {"registry.example:5000/team", {{"username", "t"}, {"password", "p"}}},
                         {"*.wild.example", {{"username", "w"}, {"password", "p"}}}}}};
  const auto first = [&](const char* registry, const char* repository) {
    const auto found = matching_auths(config, {registry, repository, "1", ""});
    return found.empty() ? std::string() : found.front().username;
  };
  CHECK(first("docker.io", "library/busybox") == "hub");
  CHECK(first("registry.example:5000", "other/app") == "u");
  CHECK(first("registry.example:5000", "team/app") == "t");
  CHECK(first("registry.example:5000", "teammate/app") == "u");
  CHECK(first("a.wild.example", "x") == "w");
  CHECK(first("evil.example", "x").empty());
}

TEST_CASE("signal names") {
  CHECK(signal_number("SIGTERM") == 15);
  CHECK(signal_number("QUIT") == 3);
  CHECK(signal_number("9") == 9);
  CHECK(signal_number("SIGRTMIN+3") == 37);
  CHECK_FALSE(signal_number("SIGNOPE").has_value());
  CHECK_FALSE(signal_number("").has_value());
}
