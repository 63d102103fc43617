// Pods and containers from start to removal, taking over, exec and attach.
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "brume/base/strings.h"

#include "bed.h"

namespace brume::runtime::test {
namespace {

std::size_t open_files() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

}  // namespace

TEST_CASE("a container runs, logs and tells its exit code", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  auto pod = bed.pod("p1");
  REQUIRE((pod ? "" : pod.error().message) == "");
  CHECK(pod->shim_pid > 0);
  CHECK(fs::exists(pod->netns_path));
  auto spec = bed.spec("p1", {"sh", "-c", "echo hello; echo oops >&2; printf tail; exit 7"});
  auto started = bed.start(spec);
  REQUIRE((started ? "" : started.error().message) == "");
  auto ended = bed.wait("p1", spec.id);
  REQUIRE(ended.has_value());
  CHECK(ended->exit_code == 7);
  CHECK(ended->signal == 0);
  CHECK(ended->finished_at >= ended->started_at);
  CHECK(log_text(spec.log_path, "stdout") == "hello\ntail");
  CHECK(log_text(spec.log_path, "stderr") == "oops\n");
  std::string first = slurp(spec.log_path).substr(0, 30);
  CHECK(parse_rfc3339(first).has_value());
  CHECK(bed.wait_for([&] {
    std::lock_guard lock(bed.mutex);
    return bed.exits.size() == 1 && bed.exits[0].exit_code == 7;
  }));
  REQUIRE(bed.remove_pod("p1").has_value());
}

TEST_CASE("a pod and its running containers tell what they use", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  // Not ended by `sleep` alone: the shell would become it, and a process in the middle of that has next to no memory.
  auto busy =
      bed.spec("p1", {"sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo ready; sleep 100; true"});
  REQUIRE(bed.start(busy).has_value());
  auto brief = bed.spec("p1", {"true"});
  REQUIRE(bed.start(brief).has_value());
  REQUIRE(bed.wait("p1", brief.id).has_value());
  REQUIRE(bed.wait_for([&] { return log_text(busy.log_path) == "ready\n"; }));
  const auto used = bed.run<Result<PodUse>>([&] { return bed.runtime->use("p1"); });
  REQUIRE((used ? "" : used.error().message) == "");
  REQUIRE(used->containers.size() == 1);  // what has ended uses nothing
  const ResourceUse& container = used->containers.at(busy.id);
  REQUIRE(container.cpu_nanoseconds);
  CHECK(*container.cpu_nanoseconds > 1'000'000);
  REQUIRE(container.memory);
  CHECK(container.memory->working_set > 10'000);
  REQUIRE(used->pod.cpu_nanoseconds);
  CHECK(*used->pod.cpu_nanoseconds >= *container.cpu_nanoseconds);
  REQUIRE(used->pod.memory);
  CHECK(used->pod.memory->working_set >= container.memory->working_set);
  CHECK_FALSE(bed.run<Result<PodUse>>([&] { return bed.runtime->use("nobody"); }));
  REQUIRE(bed.remove_pod("p1").has_value());
}

TEST_CASE("signals end containers", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto kill = [&](const std::string& text, int signal) {
    auto spec = bed.spec("p1", {"sh", "-c", text});
    REQUIRE(bed.start(spec).has_value());
    REQUIRE(bed.wait_for([&] { return log_text(spec.log_path) == "ready\n"; }));
    CHECK(bed.run<Status>([&] { return bed.runtime->signal_container("p1", spec.id, signal); }).has_value());
    auto ended = bed.wait("p1", spec.id);
    REQUIRE(ended.has_value());
    return *ended;
  };
  auto trapped = kill("trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done", SIGTERM);
  CHECK(trapped.exit_code == 3);
  auto killed = kill("echo ready; sleep 100", SIGKILL);
  CHECK(killed.exit_code == 137);
  CHECK(killed.signal == SIGKILL);
}

TEST_CASE("a program that cannot start says why", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  std::ofstream(bed.layer + "/etc/plain") << "data";
  auto error_of = [&](std::vector<std::string> args) {
    auto spec = bed.spec("p1", std::move(args));
    auto started = bed.start(spec);
    REQUIRE(!started.has_value());
    CHECK(!fs::exists(spec.writable_dir));
    CHECK(!fs::exists(bed.cgroup_root + "/pods/p1/" + spec.id));
    return started.error();
  };
  Error missing = error_of({"/foo"});
  CHECK(missing.code == Code::kNotFound);
  CHECK(missing.message == "exec /foo: No such file or directory");
  Error unfound = error_of({"foo"});
  CHECK(unfound.code == Code::kNotFound);
  CHECK(unfound.message.find("executable file not found in $PATH") != std::string::npos);
  CHECK(error_of({"/etc/plain"}).code == Code::kForbidden);
  auto bad_log = bed.spec("p1", {"true"});
  bad_log.log_path = bed.dir + "/nowhere/x.log";
  CHECK(!bed.start(bad_log).has_value());
  fs::create_symlink("/etc/passwd", bed.dir + "/link.log");
  bad_log.log_path = bed.dir + "/link.log";
  auto through_link = bed.start(bad_log);
  REQUIRE(!through_link.has_value());
  CHECK(through_link.error().message.find("symbolic links") != std::string::npos);
  auto none = bed.spec("absent", {"true"});
  CHECK(bed.start(none).error().code == Code::kNotFound);
  CHECK(bed.script("p1", "echo still fine") == "still fine\n");
}

TEST_CASE("long lines are split and a log is opened anew", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto spec = bed.spec("p1", {"sh", "-c",
                              "yes x | head -c 40000 | tr -d '\\n' | head -c 20000; echo end; sleep 0.2; while [ ! -e "
                              "/go ]; do sleep 0.01; done; echo second"});
  REQUIRE(bed.start(spec).has_value());
  REQUIRE(bed.wait_for([&] { return slurp(spec.log_path).find("end\n") != std::string::npos; }));
  std::ifstream in(spec.log_path);
  std::string one, two;
  std::getline(in, one);
  std::getline(in, two);
  CHECK(one.substr(31, 8) == "stdout P");
  CHECK(one.size() == 40 + 16384);
  CHECK(two.substr(31, 8) == "stdout F");
  CHECK(two.size() == 40 + 20000 - 16384 + 3);
  fs::rename(spec.log_path, spec.log_path + ".1");
  CHECK(bed.run<Status>([&] { return bed.runtime->reopen_log("p1", spec.id); }).has_value());
  std::ofstream(spec.writable_dir + "/upper/go") << "";
  auto ended = bed.wait("p1", spec.id);
  CHECK(ended.has_value());
  // The file made beside the mount need not show inside: end it either way.
  if (ended) CHECK(log_text(spec.log_path) == "second\n");
}

TEST_CASE("huge output arrives whole", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto spec = bed.spec("p1", {"seq", "1", "300000"});
  REQUIRE(bed.start(spec).has_value());
  REQUIRE(bed.wait("p1", spec.id).has_value());
  std::string expected;
  for (int i = 1; i <= 300000; ++i) expected += std::to_string(i) + "\n";
  CHECK((log_text(spec.log_path) == expected));
}

TEST_CASE("exec without a terminal", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto spec = bed.spec("p1", {"sleep", "100"});
  REQUIRE(bed.start(spec).has_value());
  auto exec = [&](std::vector<std::string> argv, std::string input, bool with_stdin) {
    ExecSpec e;
    e.sandbox_id = "p1";
    e.container_id = spec.id;
    e.argv = std::move(argv);
    e.env = {"EXTRA=1"};
    e.stdin = with_stdin;
    return bed.run<Result<Output>>([&]() -> Task<Result<Output>> {
      auto session = co_await bed.runtime->exec(e);
      if (!session) co_return std::unexpected(session.error());
      if (with_stdin) {
        (void)co_await (*session)->write_stdin(input);
        (void)co_await (*session)->close_stdin();
      }
      co_return co_await drain(**session);
    });
  };
  auto plain = exec({"sh", "-c", "echo out $EXTRA; echo err >&2; exit 5"}, "", false);
  REQUIRE(plain.has_value());
  CHECK(plain->out == "out 1\n");
  CHECK(plain->err == "err\n");
  CHECK(plain->code == 5);
  auto piped = exec({"cat"}, "through the pipe", true);
  REQUIRE(piped.has_value());
  CHECK(piped->out == "through the pipe");
  CHECK(piped->code == 0);
  std::string big(300000, 'b');
  auto counted = exec({"wc", "-c"}, big, true);
  REQUIRE(counted.has_value());
  CHECK(counted->out == "300000\n");
  auto missing = exec({"nosuch"}, "", false);
  REQUIRE(!missing.has_value());
  CHECK(missing.error().code == Code::kNotFound);
  auto where = exec({"sh", "-c", "hostname; readlink /proc/1/exe; ls /proc/self/fd | wc -l"}, "", false);
  REQUIRE(where.has_value());
  CHECK(where->out == "host-p1\n/bin/busybox\n4\n");
}

TEST_CASE("exec on a terminal", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto spec = bed.spec("p1", {"sleep", "100"});
  REQUIRE(bed.start(spec).has_value());
  ExecSpec e;
  e.sandbox_id = "p1";
  e.container_id = spec.id;
  e.argv = {"sh"};
  e.tty = e.stdin = true;
  auto all = bed.run<Result<Output>>([&]() -> Task<Result<Output>> {
    auto session = co_await bed.runtime->exec(e);
    if (!session) co_return std::unexpected(session.error());
    (void)co_await (*session)->resize(132, 43);
    (void)co_await (*session)->write_stdin("stty size; tty; exit 9\n");
    co_return co_await drain(**session);
  });
  REQUIRE((all ? "" : all.error().message) == "");
  CHECK(all->out.find("43 132") != std::string::npos);
  CHECK(all->out.find("/dev/pts/") != std::string::npos);
  CHECK(all->code == 9);
}

TEST_CASE("attach to stdin once and to a terminal", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("p1").has_value());
  auto spec = bed.spec("p1", {"cat"});
  spec.stdin = spec.stdin_once = true;
  REQUIRE(bed.start(spec).has_value());
  auto all = bed.run<Result<Output>>([&]() -> Task<Result<Output>> {
    auto session = co_await bed.runtime->attach("p1", spec.id);
    if (!session) co_return std::unexpected(session.error());
    (void)co_await (*session)->write_stdin("line\n");
    (void)co_await (*session)->close_stdin();
    co_return co_await drain(**session);
  });
  REQUIRE((all ? "" : all.error().message) == "");
  CHECK(all->out == "line\n");
  CHECK(all->code == 0);
  CHECK(log_text(spec.log_path) == "line\n");

  auto shell = bed.spec("p1", {"sh"});
  shell.tty = shell.stdin = true;
  shell.oci["process"]["terminal"] = true;
  auto started = bed.start(shell);
  REQUIRE((started ? "" : started.error().message) == "");
  auto typed = bed.run<Result<Output>>([&]() -> Task<Result<Output>> {
    auto session = co_await bed.runtime->attach("p1", shell.id);
    if (!session) co_return std::unexpected(session.error());
    (void)co_await (*session)->resize(90, 30);
    (void)co_await (*session)->write_stdin("stty size; echo $((40+2)); stat -c %t /dev/console; exit 4\n");
    co_return co_await drain(**session);
  });
  REQUIRE((typed ? "" : typed.error().message) == "");
  CHECK(typed->out.find("30 90") != std::string::npos);
  CHECK(typed->out.find("42") != std::string::npos);
  CHECK(typed->out.find("88") != std::string::npos);  // major 136
  CHECK(typed->code == 4);
}

TEST_CASE("a new runtime takes over what runs and what has ended", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  auto pod = bed.pod("p1");
  REQUIRE(pod.has_value());
  auto lives = bed.spec("p1", {"sh", "-c", "while :; do echo tick; sleep 0.05; done"});
  auto ends = bed.spec("p1", {"sh", "-c", "sleep 0.3; exit 42"});
  auto running = bed.start(lives);
  REQUIRE(running.has_value());
  REQUIRE(bed.start(ends).has_value());
  bed.close();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  bed.open();
  auto adopted = bed.run<Result<std::vector<SandboxInfo>>>([&] { return bed.runtime->adopt(); });
  REQUIRE((adopted ? "" : adopted.error().message) == "");
  REQUIRE(adopted->size() == 1);
  CHECK((*adopted)[0].shim_pid == pod->shim_pid);
  CHECK((*adopted)[0].netns_path == pod->netns_path);
  CHECK((*adopted)[0].labels == pod->labels);
  auto one = bed.status("p1", lives.id);
  REQUIRE(one.has_value());
  CHECK(one->state == ContainerStatus::State::kRunning);
  CHECK(one->pid == running->pid);
  CHECK((one->started_at == running->started_at));
  CHECK(one->labels == lives.labels);
  auto two = bed.status("p1", ends.id);
  REQUIRE(two.has_value());
  CHECK(two->state == ContainerStatus::State::kExited);
  CHECK(two->exit_code == 42);
  // Everything still works: exec, exit events, removal.
  ExecSpec e;
  e.sandbox_id = "p1";
  e.container_id = lives.id;
  e.argv = {"echo", "adopted"};
  auto out = bed.run<Output>([&]() -> Task<Output> {
    auto session = co_await bed.runtime->exec(e);
    if (!session) co_return Output{.error = session.error().message};
    co_return co_await drain(**session);
  });
  CHECK(out.out == "adopted\n");
  CHECK(bed.run<Status>([&] { return bed.runtime->remove_container("p1", lives.id); }).has_value());
  CHECK(bed.remove_pod("p1").has_value());
}

TEST_CASE("a daemon that is killed", "[.daemon]") {
  const char* dir = std::getenv("BRUME_TEST_DIR");
  if (dir == nullptr) return;
  Loop loop("daemon");
  loop.start();
  RuntimeOptions options;
  options.state_dir = std::string(dir) + "/state";
  options.cgroup_root = std::getenv("BRUME_TEST_CGROUP");
  auto made = Runtime::create(options, loop.executor());
  REQUIRE(made.has_value());
  ContainerSpec spec;
  spec.sandbox_id = "p1";
  spec.id = spec.name = "c1";
  spec.oci = default_spec();
  spec.oci["process"]["args"] = {"/bin/sh", "-c", "sleep 0.3; exit 11"};
  spec.oci["process"]["env"] = {"PATH=/bin"};
  spec.layers = {std::string(dir) + "/layer"};
  spec.writable_dir = std::string(dir) + "/writable/c1";
  spec.log_path = std::string(dir) + "/c1.log";
  loop.run_and_wait([&]() -> Task<void> {
    SandboxSpec sandbox;
    sandbox.id = "p1";
    sandbox.cgroup_parent = "pods/p1";
    (void)co_await (*made)->create_sandbox(sandbox);
    (void)co_await (*made)->start_container(spec);
    ::kill(::getpid(), SIGKILL);
  });
}

TEST_CASE("pods survive the SIGKILL of the process that made them", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  bed.close();
  pid_t child = ::fork();
  if (child == 0) {  // a fresh process: threads do not survive a fork
    ::setenv("BRUME_TEST_DIR", bed.dir.c_str(), 1);
    ::setenv("BRUME_TEST_CGROUP", bed.cgroup_root.c_str(), 1);
    ::execl("/proc/self/exe", "test_runtime", "a daemon that is killed", nullptr);
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  bed.open();
  auto adopted = bed.run<Result<std::vector<SandboxInfo>>>([&] { return bed.runtime->adopt(); });
  REQUIRE(adopted.has_value());
  REQUIRE(adopted->size() == 1);
  auto ended = bed.wait("p1", "c1");
  REQUIRE(ended.has_value());
  CHECK(ended->exit_code == 11);
}

TEST_CASE("a killed shim ends its containers, and its leftovers go", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  auto pod = bed.pod("p1");
  REQUIRE(pod.has_value());
  auto spec = bed.spec("p1", {"sleep", "100"});
  auto started = bed.start(spec);
  REQUIRE(started.has_value());
  std::atomic<bool> told = false;
  (void)bed.run<Status>([&]() -> Task<Status> {
    bed.runtime->on_sandbox_end([&told](const std::string& id) { told = id == "p1"; });
    co_return Status();
  });
  ::kill(pod->shim_pid, SIGKILL);
  auto ended = bed.wait("p1", spec.id);
  REQUIRE(ended.has_value());
  CHECK(ended->exit_code == 137);
  CHECK(bed.wait_for([&] { return told.load(); }));
  CHECK(bed.wait_for([&] {
    return ::kill(started->pid, 0) != 0 ||
           slurp("/proc/" + std::to_string(started->pid) + "/stat").find(") Z") != std::string::npos;
  }));
  bed.close();
  bed.open();
  auto adopted = bed.run<Result<std::vector<SandboxInfo>>>([&] { return bed.runtime->adopt(); });
  REQUIRE(adopted.has_value());
  CHECK(adopted->empty());
  CHECK(!fs::exists(bed.dir + "/state/p1"));
  CHECK(!fs::exists(bed.cgroup_root + "/pods"));
  CHECK(!fs::exists(spec.writable_dir));
}

// Mounts that name the directory; others on this machine may come and go.
std::string mounts_below(const std::string& dir) {
  std::ifstream file("/proc/self/mountinfo");
  std::string found;
  for (std::string line; std::getline(file, line);) {
    if (line.find(dir) != std::string::npos) found += line + "\n";
  }
  return found;
}

TEST_CASE("removal leaves nothing", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  REQUIRE(bed.pod("warm").has_value());
  REQUIRE(bed.remove_pod("warm").has_value());
  std::size_t files = open_files();
  const auto mounts = mounts_below(bed.dir);
  auto pod = bed.pod("p1");
  REQUIRE(pod.has_value());
  std::vector<ContainerSpec> specs;
  for (int i = 0; i < 20; ++i) {
    specs.push_back(bed.spec("p1", {"sh", "-c", "sleep 100 & sleep 100"}));
    auto started = bed.start(specs.back());
    REQUIRE((started ? "" : started.error().message) == "");
  }
  CHECK(mounts_below(bed.dir) == mounts);
  CHECK(bed.run<Status>([&] { return bed.runtime->remove_container("p1", specs[0].id); }).has_value());
  CHECK(!fs::exists(specs[0].writable_dir));
  CHECK(!bed.status("p1", specs[0].id).has_value());
  CHECK(bed.remove_pod("p1").has_value());
  CHECK(bed.remove_pod("p1").has_value());
  CHECK(::kill(pod->shim_pid, 0) != 0);
  CHECK(!fs::exists(bed.dir + "/state/p1"));
  CHECK(!fs::exists(bed.cgroup_root + "/pods"));
  for (const auto& spec : specs) CHECK(!fs::exists(spec.writable_dir));
  CHECK(mounts_below(bed.dir) == mounts);
  // The reactor closes the connection's and the pidfd's descriptors in turns after the answer; and what an
  // earlier test left to close may close meanwhile.
  CHECK(brume::test::eventually_in_thread([&] { return open_files() <= files; }));
}

TEST_CASE("start is fast and the shim is small", "[runtime]") {
  if (!can_run()) return;
  Bed bed;
  std::vector<double> pods, containers;
  for (int i = 0; i < 20; ++i) {
    std::string id = "p" + std::to_string(i);
    auto a = std::chrono::steady_clock::now();
    REQUIRE(bed.pod(id).has_value());
    auto b = std::chrono::steady_clock::now();
    auto spec = bed.spec(id, {"sleep", "100"});
    REQUIRE(bed.start(spec).has_value());
    auto c = std::chrono::steady_clock::now();
    pods.push_back(std::chrono::duration<double, std::milli>(b - a).count());
    containers.push_back(std::chrono::duration<double, std::milli>(c - b).count());
  }
  std::ranges::sort(pods);
  std::ranges::sort(containers);
  auto info = bed.run<std::vector<ContainerStatus>>(
      [&]() -> Task<std::vector<ContainerStatus>> { co_return bed.runtime->containers("p0"); });
  REQUIRE(info.size() == 1);
  std::string stat = slurp("/proc/" + std::to_string(info[0].pid) + "/stat");
  std::string parent(split(std::string_view(stat).substr(stat.rfind(')') + 2), ' ')[1]);
  std::string rollup = slurp("/proc/" + parent + "/smaps_rollup");
  std::size_t pss_at = rollup.find("Pss:");
  REQUIRE(pss_at != std::string::npos);
  long pss = std::strtol(rollup.c_str() + pss_at + 4, nullptr, 10);
  CHECK(pss < 500);
  if (std::getenv("BRUME_FIGURES") != nullptr) {
    std::printf("sandbox p50 %.2f ms max %.2f; container p50 %.2f ms max %.2f; shim %s\n", pods[10], pods[19],
                containers[10], containers[19], rollup.c_str());
  }
}

}  // namespace brume::runtime::test
