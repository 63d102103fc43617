// A runtime on a loop of its own, with state, cgroups and a busybox layer that only the test uses.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/linux/cgroup.h"
#include "brume/runtime/defaults.h"
#include "brume/runtime/runtime.h"
#include "catch.h"
#include "support/waiting.h"

namespace brume::runtime::test {

namespace fs = std::filesystem;

inline bool can_run() {
  return ::geteuid() == 0 && fs::exists("/bin/busybox") && linux_os::find_cgroup2_mount().has_value();
}

inline std::string slurp(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The text of a CRI log without its time stamps' columns: only lines of `stream`, or all.
inline std::string log_text(const std::string& path, std::string_view stream = "") {
  std::string out;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.size() < 40) continue;
    if (!stream.empty() && line.substr(31, 6) != stream) continue;
    out += line.substr(40);
    if (line[38] == 'F') out += '\n';
  }
  return out;
}

struct Bed {
  std::string dir;
  std::string layer;
  std::string cgroup_root;
  Loop loop{"runtime-test"};
  std::unique_ptr<Runtime> runtime;
  std::mutex mutex;
  std::vector<ContainerStatus> exits;
  int counter = 0;

  Bed() {
    char name[] = "/tmp/brume-rt-XXXXXX";
    dir = ::mkdtemp(name);
    cgroup_root = *linux_os::find_cgroup2_mount() + "/brume-test-" + std::to_string(::getpid());
    layer = dir + "/layer";
    for (const char* sub : {"bin", "etc", "tmp", "root"}) fs::create_directories(layer + "/" + sub);
    fs::copy_file("/bin/busybox", layer + "/bin/busybox");
    for (const char* applet :
         {"sh",    "echo",     "cat",  "sleep", "ls",       "id",  "true",  "false", "mount", "unshare",
          "touch", "kill",     "grep", "head",  "readlink", "seq", "yes",   "dd",    "stat",  "tty",
          "stty",  "hostname", "ip",   "ps",    "tr",       "wc",  "mkdir", "rm",    "trap"}) {
      fs::create_symlink("busybox", layer + "/bin/" + applet);
    }
    loop.start();
    open();
  }
  ~Bed() {
    if (runtime) close();
    loop.stop();
    (void)linux_os::Cgroup(cgroup_root).remove(std::chrono::milliseconds(5000));
    std::error_code ignored;
    fs::remove_all(dir, ignored);
  }

  void open() {
    RuntimeOptions options;
    options.state_dir = dir + "/state";
    options.cgroup_root = cgroup_root;
    auto made = Runtime::create(options, loop.executor());
    REQUIRE(made.has_value());
    runtime = std::move(*made);
    run<int>([this]() -> Task<int> {
      runtime->on_exit([this](const ContainerStatus& status) {
        std::lock_guard lock(mutex);
        exits.push_back(status);
      });
      co_return 0;
    });
  }
  /// Lets go without stopping a pod.
  void close() {
    loop.run_and_wait([this]() -> Task<void> {
      co_await runtime->stop();
      runtime.reset();
    });
  }

  template <typename T>
  T run(std::function<Task<T>()> start) {
    std::optional<T> out;
    loop.run_and_wait([&]() -> Task<void> { out.emplace(co_await start()); });
    return std::move(*out);
  }

  Result<SandboxInfo> pod(const std::string& id, const std::function<void(SandboxSpec&)>& change = {}) {
    SandboxSpec spec;
    spec.id = id;
    spec.hostname = "host-" + id;
    spec.cgroup_parent = "pods/" + id;
    spec.labels = {{"pod", id}};
    if (change) change(spec);
    return run<Result<SandboxInfo>>([&] { return runtime->create_sandbox(spec); });
  }
  ContainerSpec spec(const std::string& pod, std::vector<std::string> args) {
    ContainerSpec out;
    out.sandbox_id = pod;
    out.id = "c" + std::to_string(++counter);
    out.name = "main";
    out.oci = default_spec();
    out.oci["process"]["args"] = std::move(args);
    out.oci["process"]["env"] = {"PATH=/bin"};
    out.layers = {layer};
    out.writable_dir = dir + "/writable/" + out.id;
    out.log_path = dir + "/" + out.id + ".log";
    out.labels = {{"k", "v"}};
    return out;
  }
  Result<ContainerStatus> start(const ContainerSpec& spec) {
    return run<Result<ContainerStatus>>([&] { return runtime->start_container(spec); });
  }
  std::optional<ContainerStatus> status(const std::string& pod, const std::string& id) {
    auto all = run<std::vector<ContainerStatus>>(
        [&]() -> Task<std::vector<ContainerStatus>> { co_return runtime->containers(pod); });
    for (auto& one : all) {
      if (one.id == id) return one;
    }
    return std::nullopt;
  }
  /// Waits for the container's end; nothing when it does not come.
  std::optional<ContainerStatus> wait(const std::string& pod, const std::string& id) {
    std::optional<ContainerStatus> one;
    const bool ended = brume::test::eventually_in_thread([&] {
      one = status(pod, id);
      return one && one->state == ContainerStatus::State::kExited;
    });
    return ended ? one : std::nullopt;
  }
  /// Runs a shell script to its end and gives its log's text; "start: ..." when it did not start.
  std::string script(const std::string& pod, const std::string& text,
                     const std::function<void(ContainerSpec&)>& change = {}) {
    ContainerSpec one = spec(pod, {"/bin/sh", "-c", text});
    if (change) change(one);
    auto started = start(one);
    if (!started) return "start: " + started.error().message;
    auto ended = wait(pod, one.id);
    if (!ended) return "does not end";
    return log_text(one.log_path);
  }
  Status remove_pod(const std::string& id) {
    return run<Status>([&] { return runtime->remove_sandbox(id); });
  }
  bool wait_for(const std::function<bool()>& condition) { return brume::test::eventually_in_thread(condition); }
};

/// All output of a session until its end.
struct Output {
  std::string out;
  std::string err;
  int code = -1;
  std::string error;
};
inline Task<Output> drain(Session& session) {
  Output all;
  for (;;) {
    auto chunk = co_await session.read();
    if (!chunk) {
      all.error = chunk.error().message;
      co_return all;
    }
    (chunk->channel == Session::Channel::kStdout ? all.out : all.err) += chunk->data;
    if (chunk->ended) {
      all.code = chunk->exit_code;
      co_return all;
    }
  }
}

}  // namespace brume::runtime::test
