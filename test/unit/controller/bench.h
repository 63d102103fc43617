// A control loop with chosen controllers over the in-memory API, and a kubelet of sorts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/task.h"
#include "catch.h"
#include "make.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

namespace brume::controller {

class Bench {
 public:
  using Make = std::unique_ptr<Controller> (*)(Context&);

  explicit Bench(std::vector<Make> makers, Options options = {})
      : loop_("test"), api(clock), makers_(std::move(makers)), options_(std::move(options)) {
    loop_.start();
    loop_.run_and_wait([&]() -> Task<void> {
      make();
      co_return;
    });
  }

  ~Bench() {
    loop_.run_and_wait([&]() -> Task<void> { co_await unmake(); });
    loop_.stop();
  }

  /// The process dies and starts again: all that the controllers and informers had in memory is lost.
  Task<void> restart() {
    co_await unmake();
    make();
    start();
    co_await test::settle();
  }

  /// Runs a test's body on the loop, with the controllers started.
  void run(std::function<Task<void>()> body) {
    loop_.run_and_wait([&]() -> Task<void> {
      start();
      co_await test::settle();
      co_await body();
    });
  }

  void start() {
    informers_->start();
    for (auto& controller : controllers_) controller->start();
  }

  /// Lets everything come to rest, moving the clock by small steps so that retries happen.
  Task<void> rest(int rounds = 6) {
    for (int i = 0; i < rounds; ++i) {
      co_await test::settle(150);
      clock.advance(std::chrono::milliseconds(100));
    }
    co_await test::settle(150);
  }

  /// One kubelet's turn: pods that are not there for long get bound, run and ready; deleted ones go away.
  void kubelet(bool ready = true) {
    for (const auto& pod : api.all("pods")) {
      if (pod->deleting()) {
        if (pod->finalizers().empty()) api.erase("pods", pod->ns(), pod->name());
        continue;
      }
      const Json value = pod->parse();
      if (str(at(value, "status"), "phase") != "Pending") continue;
      Json bound = value;
      if (str(at(bound, "spec"), "nodeName").empty()) bound["spec"]["nodeName"] = "node";
      const int n = ++ips_;
      const std::string ip = "10.42.0." + std::to_string(n);
      bound["status"] = {{"phase", "Running"},
                         {"podIP", ip},
                         {"podIPs", Json::array({{{"ip", ip}}})},
                         {"conditions", Json::array({{{"type", "Ready"},
                                                      {"status", ready ? "True" : "False"},
                                                      {"lastTransitionTime", format_rfc3339(clock.now())}}})}};
      api.seed("pods", std::move(bound));
    }
  }

  /// Kubelet's turns and rests until nothing more changes.
  Task<void> converge(int turns = 12) {
    std::int64_t before = -1;
    for (int i = 0; i < turns && before != api.revision(); ++i) {
      before = api.revision();
      co_await rest(3);
      kubelet();
      co_await rest(3);
    }
  }

  [[nodiscard]] std::vector<std::string> events(std::string_view reason) const {
    std::vector<std::string> out;
    for (const auto& event : api.all("events")) {
      const Json value = event->parse();
      if (str(value, "reason") == reason) out.emplace_back(str(value, "message"));
    }
    return out;
  }

  /// Edits an object as a user does.
  void edit(std::string_view resource, std::string_view ns, std::string_view name, std::function<void(Json&)> change) {
    Json value = api.json(resource, ns, name);
    change(value);
    value["metadata"]["generation"] = num(at(value, "metadata"), "generation") + 1;
    api.seed(resource, std::move(value));
  }

 private:
  void make() {
    informers_ = std::make_unique<client::InformerFactory>(api, loop_.executor(), clock);
    views_ = std::make_unique<PodViews>(informers_->informer("pods"), decode_pod);
    context_ = std::make_unique<Context>(Context{*informers_, options_, *views_});
    for (auto maker : makers_) controllers_.push_back(maker(*context_));
  }

  Task<void> unmake() {
    for (auto& controller : controllers_) co_await controller->stop();
    co_await informers_->stop();
    controllers_.clear();
    context_.reset();
    views_.reset();
    informers_.reset();
  }

  Loop loop_;

 public:
  test::FakeClock clock;
  test::FakeClient api;

 private:
  std::vector<Make> makers_;
  Options options_;
  int ips_ = 0;
  std::unique_ptr<client::InformerFactory> informers_;
  std::unique_ptr<PodViews> views_;
  std::unique_ptr<Context> context_;
  std::vector<std::unique_ptr<Controller>> controllers_;
};

inline Json pod_template(const std::string& app, const std::string& image = "web:1") {
  return {{"metadata", {{"labels", {{"app", app}}}}},
          {"spec", {{"containers", Json::array({{{"name", "c"}, {"image", image}}})}}}};
}

inline Json replicaset(const std::string& name, int replicas) {
  return {
      {"metadata", {{"name", name}}},
      {"spec",
       {{"replicas", replicas}, {"selector", {{"matchLabels", {{"app", name}}}}}, {"template", pod_template(name)}}}};
}

inline Json deployment(const std::string& name, int replicas) {
  return {{"metadata", {{"name", name}}},
          {"spec",
           {{"replicas", replicas},
            {"progressDeadlineSeconds", 600},
            {"revisionHistoryLimit", 10},
            {"selector", {{"matchLabels", {{"app", name}}}}},
            {"strategy", {{"type", "RollingUpdate"}, {"rollingUpdate", {{"maxSurge", 1}, {"maxUnavailable", 1}}}}},
            {"template", pod_template(name)}}}};
}

}  // namespace brume::controller
