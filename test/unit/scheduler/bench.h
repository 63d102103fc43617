// A scheduler over the in-memory API.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "brume/base/task.h"
#include "brume/client/helpers.h"
#include "brume/scheduler/scheduler.h"
#include "catch.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

namespace brume {

struct Bench {
  explicit Bench(scheduler::Options options = {}) : loop("test"), api(clock) {
    loop.start();
    loop.run_and_wait([&]() -> Task<void> {
      informers = std::make_unique<client::InformerFactory>(api, loop.executor(), clock);
      auto made = scheduler::Scheduler::create(*informers, options);
      REQUIRE(made);
      it = std::move(*made);
      co_return;
    });
  }
  ~Bench() {
    loop.run_and_wait([&]() -> Task<void> {
      co_await it->stop();
      co_await informers->stop();
      it.reset();
      informers.reset();
    });
    loop.stop();
  }
  void run(std::function<Task<void>()> body) {
    loop.run_and_wait([&]() -> Task<void> {
      it->start();
      co_await test::settle();
      co_await body();
    });
  }
  void node(const std::string& name, const std::string& cpu = "4", Json extra = Json::object()) {
    Json value = {{"metadata", {{"name", name}, {"labels", {{"kubernetes.io/hostname", name}}}}},
                  {"spec", Json::object()},
                  {"status", {{"allocatable", {{"cpu", cpu}, {"memory", "8Gi"}, {"pods", "110"}}}}}};
    value.merge_patch(extra);
    api.seed("nodes", std::move(value));
  }
  void pod(const std::string& name, const std::string& cpu = "100m", Json extra = Json::object()) {
    Json value = {
        {"metadata", {{"name", name}}},
        {"spec",
         {{"schedulerName", "default-scheduler"},
          {"containers",
           Json::array({{{"name", "c"}, {"resources", {{"requests", {{"cpu", cpu}, {"memory", "64Mi"}}}}}}})}}},
        {"status", {{"phase", "Pending"}}}};
    value.merge_patch(extra);
    api.seed("pods", std::move(value));
  }
  std::string node_of(const std::string& name) const {
    return std::string(str(at(api.json("pods", "default", name), "spec"), "nodeName"));
  }
  Json condition(const std::string& name) const {
    return client::find_condition(at(api.json("pods", "default", name), "status"), "PodScheduled");
  }
  std::vector<std::string> events(std::string_view reason) const {
    std::vector<std::string> out;
    for (const auto& event : api.all("events")) {
      const Json value = event->parse();
      if (str(value, "reason") == reason) out.emplace_back(str(value, "message"));
    }
    return out;
  }

  static std::size_t count_of(const std::string& what, const std::vector<std::string>& list) {
    return static_cast<std::size_t>(std::count(list.begin(), list.end(), what));
  }

  Loop loop;
  test::FakeClock clock;
  test::FakeClient api;
  std::unique_ptr<client::InformerFactory> informers;
  std::unique_ptr<scheduler::Scheduler> it;
};

}  // namespace brume
