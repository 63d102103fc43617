// What a container can and cannot reach.
#include "bed.h"

namespace brume::runtime::test {

TEST_CASE("a container sees its own namespaces and standard devices", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  CHECK(bed.script("p1", "echo $$; hostname; ls /dev | tr '\\n' ' '") ==
        "1\nhost-p1\nfd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ");
  CHECK(bed.script("p1", "ip -o link | grep -c .; ip -o link | grep -o 'lo: <[A-Z,_]*>'").find("LOOPBACK,UP") !=
        std::string::npos);
  CHECK(bed.script("p1", "echo x > /dev/null && head -c 2 /dev/zero | wc -c; stat -c '%a %t:%T' /dev/null") ==
        "2\n666 1:3\n");
  CHECK(bed.script("p1", "echo shm > /dev/shm/a; cat /dev/shm/a; touch /sys/x 2>/dev/null || echo ro") == "shm\nro\n");
  CHECK(bed.script("p1", "cat /proc/self/cgroup | grep '^0::'") == "0::/\n");
}

TEST_CASE("no descriptor of the node leaks in", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  // The shell's glob opens the directory as one more, here 3.
  CHECK(bed.script("p1", "cd /proc/self/fd; echo *") == "0 1 2 3\n");
  CHECK(bed.script("p1",
                   "grep -c . /proc/self/mountinfo > /dev/null; grep ' / / ' /proc/self/mountinfo | grep -c overlay; "
                   "grep -c brume-rt /proc/self/mountinfo | head -n 1")
            .substr(0, 2) == "1\n");
}

TEST_CASE("default capabilities, no new namespaces, no mounts", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  CHECK(bed.script("p1", "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr -d '\\t'") ==
        "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\nCapBnd:00000000a80425fb\n"
        "CapAmb:0000000000000000\n");
  CHECK(bed.script("p1", "grep Seccomp: /proc/self/status | tr -d '\\t'; unshare -U true 2>&1")
            .find("Seccomp:2\nunshare: unshare(0x10000000): Operation not permitted") == 0);
  CHECK(bed.script("p1", "mount -t tmpfs x /tmp 2>&1").find("permission denied") != std::string::npos);
  // Capability SYS_ADMIN opens the filter, as it does on Kubernetes.
  auto admin = [](ContainerSpec& spec) {
    auto caps = default_capabilities();
    caps.push_back("CAP_SYS_ADMIN");
    spec.oci["process"]["capabilities"] = {{"bounding", caps}, {"effective", caps}, {"permitted", caps}};
    spec.oci["linux"]["seccomp"] = default_seccomp(caps);
  };
  CHECK(bed.script("p1", "mount -t tmpfs x /tmp && echo mounted", admin) == "mounted\n");
}

TEST_CASE("user, groups, umask, limits and no_new_privs", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto change = [](ContainerSpec& spec) {
    spec.oci["process"]["user"] = {{"uid", 1000}, {"gid", 2000}, {"additionalGids", {3000}}, {"umask", 0077}};
    spec.oci["process"]["rlimits"] = Json::array({{{"type", "RLIMIT_NOFILE"}, {"soft", 100}, {"hard", 200}}});
    spec.oci["process"]["noNewPrivileges"] = true;
    spec.oci["process"]["cwd"] = "/made/here";
  };
  CHECK(bed.script("p1",
                   "id -u; id -g; id -G; umask; ulimit -n; pwd; grep -E 'NoNewPrivs|CapEff|CapPrm' /proc/self/status | "
                   "tr -d '\\t'; echo to >> /dev/stdout",
                   change) ==
        "1000\n2000\n2000 "
        "3000\n0077\n100\n/made/here\nCapPrm:0000000000000000\nCapEff:0000000000000000\nNoNewPrivs:1\nto\n");
}

TEST_CASE("masked and read-only paths, read-only root", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  std::ofstream(bed.layer + "/etc/secret") << "s3cret";
  fs::create_directories(bed.layer + "/hidden");
  std::ofstream(bed.layer + "/hidden/file") << "s3cret";
  auto change = [](ContainerSpec& spec) {
    spec.oci["linux"]["maskedPaths"] = {"/etc/secret", "/hidden", "/proc/keys", "/absent"};
    spec.readonly_root = true;
  };
  CHECK(bed.script("p1", "cat /etc/secret; ls /hidden; cat /proc/keys; echo x 2>/dev/null > /etc/new || echo ro",
                   change) == "ro\n");
  CHECK(
      bed.script(
          "p1", "echo 1 2>/dev/null > /proc/sys/kernel/shmmax || echo ro; echo x 2>/dev/null > /hidden/y && echo rw") ==
      "ro\nrw\n");
  CHECK(!fs::exists(bed.layer + "/hidden/y"));
}

TEST_CASE("bind mounts stay inside the root whatever the image links", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  std::string outside = bed.dir + "/outside";
  std::ofstream(outside) << "node";
  std::ofstream(bed.dir + "/volume") << "volume";
  fs::create_symlink("../../../../../../../../.." + outside, bed.layer + "/etc/hosts");
  fs::create_symlink("/run/systemd/resolv.conf", bed.layer + "/etc/resolv.conf");
  auto bind = [&](const char* to, std::vector<std::string> options) {
    return [&bed, to, options](ContainerSpec& spec) {
      spec.oci["mounts"].push_back(
          {{"destination", to}, {"type", "bind"}, {"source", bed.dir + "/volume"}, {"options", options}});
    };
  };
  CHECK(bed.script("p1", "cat /etc/hosts; echo w 2>/dev/null > /etc/hosts || echo ro",
                   bind("/etc/hosts", {"bind", "ro"})) == "volumero\n");
  CHECK(slurp(outside) == "node");
  CHECK(slurp(bed.dir + "/volume") == "volume");
  CHECK(bed.script("p1", "cat /etc/resolv.conf; ls /run/systemd", bind("/etc/resolv.conf", {"rbind"})) ==
        "volumeresolv.conf\n");
  CHECK(bed.script("p1", "cat /new/dir/file", bind("/new/dir/file", {"bind"})) == "volume");
}

TEST_CASE("sub-paths cannot leave their volume", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  std::string volume = bed.dir + "/vol";
  fs::create_directories(volume + "/inner");
  std::ofstream(volume + "/inner/data") << "inner";
  fs::create_symlink("/etc", volume + "/escape");
  auto subpath = [&volume](const std::string& path) {
    return [volume, path](ContainerSpec& spec) {
      spec.oci["mounts"].push_back({{"destination", "/data"},
                                    {"type", "bind"},
                                    {"source", volume},
                                    {"options", {"rbind", "x-subpath=" + path}}});
    };
  };
  CHECK(bed.script("p1", "cat /data/data", subpath("inner")) == "inner");
  CHECK(bed.script("p1", "ls /data", subpath("escape")).find("start: ") == 0);
  CHECK(bed.script("p1", "ls /data", subpath("../state")).find("start: ") == 0);
}

TEST_CASE("an image whose /proc or /dev is a link is refused", "[runtime]") {
  if (!can_run()) return;
  for (const char* name : {"proc", "dev"}) {
    Bed bed;
    REQUIRE(bed.pod("p1").has_value());
    fs::create_directories(bed.layer + "/evil");
    fs::create_symlink("/evil", bed.layer + "/" + name);
    CHECK(bed.script("p1", "true").find("symbolic links") != std::string::npos);
  }
}

TEST_CASE("a shared PID namespace keeps the shim out of reach", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  auto shared = bed.pod("p1", [](SandboxSpec& spec) { spec.share_pid = true; });
  REQUIRE((shared ? "" : shared.error().message) == "");
  auto one = bed.spec("p1", {"sleep", "77"});
  REQUIRE(bed.start(one).has_value());
  CHECK(bed.script("p1",
                   "ps -o args | grep -c '[s]leep 77'; cat /proc/1/comm; ls /proc/1/root 2>&1 | wc -l; "
                   "ls /proc/1/fd | wc -l")
            .find("1\npod-init\n") == 0);
  // An orphan is reaped by the pod's init, not kept as a zombie.
  CHECK(
      bed.script("p1", "sh -c 'sleep 0.05 &'; sleep 0.2; grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l") ==
      "0\n");
}

TEST_CASE("what cannot be honoured is an error that names the field", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto refused = [&](const std::function<void(Json&)>& change) {
    return bed.script("p1", "true", [&](ContainerSpec& spec) { change(spec.oci); });
  };
  CHECK(refused([](Json& o) { o["hooks"] = {{"prestart", {1}}}; }).find("hooks") != std::string::npos);
  CHECK(refused([](Json& o) { o["process"]["selinuxLabel"] = "x"; }).find("process.selinuxLabel") != std::string::npos);
  CHECK(refused([](Json& o) {
          o["linux"]["namespaces"].push_back({{"type", "user"}});
        }).find("linux.namespaces.user") != std::string::npos);
  CHECK(refused([](Json& o) { o["linux"]["sysctl"] = {{"kernel.panic", "1"}}; }).find("linux.sysctl.kernel.panic") !=
        std::string::npos);
  CHECK(refused([](Json& o) {
          o["mounts"].push_back({{"destination", "/x"}, {"type", "tmpfs"}, {"options", {"remount"}}});
        }).find("remount") != std::string::npos);
  CHECK(refused([](Json& o) {
          o["mounts"].push_back({{"destination", "/x/../../y"}, {"type", "tmpfs"}});
        }).find("..") != std::string::npos);
  CHECK(refused([](Json& o) { o["process"]["capabilities"]["bounding"] = {"CAP_NONSENSE"}; }).find("CAP_NONSENSE") !=
        std::string::npos);
  CHECK(refused([](Json& o) { o["linux"]["resources"] = {{"rdma", {{"x", 1}}}}; }).find("linux.resources.rdma") !=
        std::string::npos);
  CHECK(refused([](Json& o) {
          o["linux"]["resources"] = {
              {"memory", {{"limit", 1 << 26}}}, {"cpu", {{"shares", 512}}}, {"pids", {{"limit", 50}}}};
        }) == "");
}

TEST_CASE("pod sysctls and the node's network", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  auto pod = bed.pod("p1", [](SandboxSpec& spec) { spec.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "0"}}; });
  REQUIRE((pod ? "" : pod.error().message) == "");
  CHECK(bed.script("p1", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n");
  auto bad = bed.pod("p2", [](SandboxSpec& spec) { spec.sysctls = {{"net.nothing", "0"}}; });
  REQUIRE(!bad.has_value());
  CHECK(!fs::exists(bed.dir + "/state/p2"));
  auto host = bed.pod("p3", [](SandboxSpec& spec) { spec.host_network = true; });
  REQUIRE(host.has_value());
  CHECK(host->netns_path.empty());
  char name[65] = {};
  ::gethostname(name, 64);
  CHECK(bed.script("p3", "hostname") == std::string(name) + "\n");
}

TEST_CASE("device rules are enforced where the kernel permits", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  for (const Limitation& limitation : bed.runtime->limitations()) {
    CHECK(!limitation.reason.empty());
    if (limitation.what == "device access rules") return;
  }
  REQUIRE(bed.pod("p1").has_value());
  auto deny = [](ContainerSpec& spec) {
    spec.oci["linux"]["resources"]["devices"] =
        Json::array({{{"allow", false}, {"access", "rwm"}},
                     {{"allow", true}, {"type", "c"}, {"major", 1}, {"minor", 3}, {"access", "rw"}},
                     {{"allow", true}, {"type", "c"}, {"access", "m"}}});
  };
  CHECK(bed.script("p1", "echo x > /dev/null && echo null; head -c 1 /dev/zero 2>/dev/null >/dev/null || echo refused",
                   deny) == "null\nrefused\n");
}

}  // namespace brume::runtime::test
