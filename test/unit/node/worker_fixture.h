// A pod worker among fakes, on a clock that tests drive.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "brume/base/random.h"
#include "catch.h"
#include "fake_client.h"
#include "fake_clock.h"
#include "fakes.h"
#include "run.h"
#include "volumes/volumes.h"
#include "worker/pod_worker.h"

namespace brume::test {

/// Lives on one loop: make it inside run(), and await done() before it goes.
struct WorkerFixture {
  explicit WorkerFixture(const Executor& executor)
      : client(clock),
        runtime(executor, clock),
        events(client, executor, clock, "kubelet", "node1"),
        objects(client, executor, clock),
        puller(images, events, clock),
        dir(std::filesystem::temp_directory_path() / ("brume-node-" + random_suffix(8))) {
    options.node_name = options.hostname = "node1";
    options.node_ips = {"192.0.2.1"};
    options.cluster_dns = {"10.43.0.10"};
    options.data_dir = (dir / "data").string();
    options.log_dir = (dir / "logs").string();
    options.seccomp_dir = (dir / "seccomp").string();
    std::filesystem::create_directories(dir);
    images.add("docker.io/library/app:1");
    images.add("docker.io/library/setup:1");
    context = std::make_unique<node::WorkerContext>(
        node::WorkerContext{.options = options,
                            .client = client,
                            .runtime = runtime,
                            .images = images,
                            .network = network,
                            .clock = clock,
                            .executor = executor,
                            .events = events,
                            .objects = objects,
                            .puller = puller,
                            .handlers = handlers,
                            .service_env = [](const std::string&, bool) { return node::EnvList(); },
                            .usage_changed = nullptr,
                            .resize_asked = [this] { worker->decide_resize(lacking); },
                            .memory_bytes = 8LL << 30,
                            .milli_cpu = 4000,
                            .ephemeral_bytes = 100LL << 30,
                            .read_resolv_conf = [] { return std::string(); },
                            .user_files = {}});
    runtime.on_sandbox_end([this](const std::string&) {
      if (worker) worker->sandbox_ended();
    });
    runtime.on_exit([this](const runtime::ContainerStatus& status) {
      if (worker) worker->container_exited(status);
    });
    objects.on_change([this](const std::string&) {
      if (worker) worker->objects_changed();
    });
  }

  /// A pod of one container, to be changed by the test.
  static Json pod_json(const std::string& name = "web") {
    return {{"apiVersion", "v1"},
            {"kind", "Pod"},
            {"metadata", {{"name", name}, {"namespace", "default"}, {"uid", "uid-" + name}, {"generation", 1}}},
            {"spec",
             {{"nodeName", "node1"},
              {"restartPolicy", "Always"},
              {"terminationGracePeriodSeconds", 30},
              {"containers", Json::array({container_json("app")})}}},
            {"status", {{"phase", "Pending"}}}};
  }
  static Json container_json(const std::string& name, const std::string& image = "docker.io/library/app:1") {
    return {{"name", name}, {"image", image}, {"imagePullPolicy", "IfNotPresent"}};
  }

  void make(Json pod) {
    auto object = client.seed("pods", std::move(pod));
    worker = std::make_unique<node::PodWorker>(*context, object, [this](const std::string&) { gone = true; });
  }
  void start(Json pod) {
    make(std::move(pod));
    worker->start();
  }
  /// A new process of the node takes over what runs.
  Task<void> restart() {
    co_await worker->stop();
    worker = std::make_unique<node::PodWorker>(*context, client.find("pods", "default", worker->object()->name()),
                                               [this](const std::string&) { gone = true; });
    worker->adopt(runtime.sandboxes.at(worker->uid()));
    worker->start();
  }
  /// Hands the API's newest object to the worker, as the informer would.
  void sync() {
    auto object = client.find("pods", "default", worker->object()->name());
    if (object) {
      worker->update(object);
    } else {
      worker->removed();
    }
  }
  [[nodiscard]] Json status(const std::string& name = "web") const {
    return at(client.json("pods", "default", name), "status");
  }
  [[nodiscard]] std::string phase(const std::string& name = "web") const {
    return std::string(str(status(name), "phase"));
  }
  [[nodiscard]] Json container(std::size_t i = 0, const char* list = "containerStatuses") const {
    const Json all = at(status(), list);
    return all.is_array() && all.size() > i ? all[i] : Json();
  }
  [[nodiscard]] bool condition(const std::string& type) const {
    for (const Json& c : at(status(), "conditions")) {
      if (str(c, "type") == type) return str(c, "status") == "True";
    }
    return false;
  }
  [[nodiscard]] bool has_event(const std::string& reason, const std::string& text = "") const {
    for (const auto& event : client.all("events")) {
      const Json json = event->parse();
      if (str(json, "reason") == reason && str(json, "message").find(text) != std::string_view::npos) return true;
    }
    return false;
  }
  Task<bool> until(std::function<bool()> predicate) { return eventually(std::move(predicate)); }

  Task<void> done() {
    if (worker) co_await worker->stop();
    co_await objects.stop();
    co_await events.stop();
    worker.reset();
    for (const auto& entry : {"data", "logs"}) {
      (void)node::remove_with_mounts((dir / entry).string());
    }
    std::error_code ec;
    std::filesystem::remove_all(dir, ec);
  }

  FakeClock clock;
  FakeClient client;
  FakeRuntime runtime;
  FakeImages images;
  FakeNetwork network;
  FakeHandlers handlers;
  client::EventRecorder events;
  node::ObjectCache objects;
  node::ImagePuller puller;
  std::filesystem::path dir;
  node::NodeOptions options;
  std::unique_ptr<node::WorkerContext> context;
  std::unique_ptr<node::PodWorker> worker;
  bool gone = false;
  std::optional<std::string> lacking;  ///< what the node says of a resize: nothing, when there is room for it
};

/// Runs `body` with a fixture on a loop.
inline void with_worker(std::function<Task<void>(WorkerFixture&)> body) {
  run([&]() -> Task<void> {
    Executor executor = co_await boost::asio::this_coro::executor;
    WorkerFixture fixture(executor);
    co_await body(fixture);
    fixture.client.clear_reactors();  // they look at what the body had
    co_await fixture.done();
  });
}

}  // namespace brume::test
