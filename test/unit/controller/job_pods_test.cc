// Which pods a Job has: suspension, changes of parallelism, replacement, adoption, deletion.
#include "job_bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

TEST_CASE("suspending deletes the pods uncounted, resuming starts anew") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 2}, {"parallelism", 2}, {"activeDeadlineSeconds", 60}}));
    co_await b.rest();
    b.kubelet();
    co_await b.rest();
    b.edit_job([](Json& j) { j["spec"]["suspend"] = true; });
    co_await b.rest();
    CHECK(b.active().empty());
    b.end_deleted();
    co_await b.rest();
    CHECK(b.api.all("pods").empty());
    CHECK(b.conditions() == "Suspended");
    CHECK(str(b.condition("Suspended"), "reason") == "JobSuspended");
    CHECK(str(b.condition("Suspended"), "message") == "Job suspended");
    CHECK_FALSE(b.status().contains("startTime"));
    CHECK(num(b.status(), "active") == 0);
    CHECK(num(b.status(), "failed") == 0);
    CHECK(b.events("Suspended").size() == 1);
    b.clock.advance(10min);
    co_await b.rest();
    CHECK_FALSE(b.holds("FailureTarget"));
    b.edit_job([](Json& j) { j["spec"]["suspend"] = false; });
    co_await b.rest();
    CHECK(b.active().size() == 2);
    CHECK(str(b.condition("Suspended"), "status") == "False");
    CHECK(str(b.condition("Suspended"), "reason") == "JobResumed");
    CHECK(b.events("Resumed").size() == 1);
    CHECK(*parse_rfc3339(str(b.status(), "startTime")) > b.clock.now() - 1min);
    b.finish_all();
    co_await b.rest();
    CHECK(b.holds("Complete"));
  });
}

TEST_CASE("a Job that is created suspended has neither pods nor a start time") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"suspend", true}}));
    co_await b.rest();
    CHECK(b.api.all("pods").empty());
    CHECK(b.holds("Suspended"));
    CHECK_FALSE(b.status().contains("startTime"));
  });
}

TEST_CASE("parallelism can change while a Job runs") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 10}, {"parallelism", 2}}));
    co_await b.rest();
    b.edit_job([](Json& j) { j["spec"]["parallelism"] = 4; });
    co_await b.rest();
    CHECK(b.active().size() == 4);
    auto pods = b.active();
    b.kubelet();
    b.api.set_status("pods", "default", pods[1]->name(), {{"conditions", Json::array()}});
    b.api.set_status("pods", "default", pods[1]->name(),
                     {{"conditions", Json::array({{{"type", "Ready"}, {"status", "False"}}})}});
    co_await b.rest();
    b.edit_job([](Json& j) { j["spec"]["parallelism"] = 3; });
    co_await b.rest();
    CHECK(b.active().size() == 3);
    CHECK(b.api.find("pods", "default", pods[1]->name())->deleting());  // the one that is not ready
    b.edit_job([](Json& j) { j["spec"]["parallelism"] = 0; });
    co_await b.rest();
    CHECK(b.active().empty());
    CHECK(num(b.status(), "failed") == 0);
  });
}

TEST_CASE("pods that are being deleted are replaced at once, or only when they have ended") {
  for (const bool at_once : {true, false}) {
    JobBench b;
    b.run([&]() -> Task<void> {
      b.api.seed("jobs.batch", job("work", {{"podReplacementPolicy", at_once ? "TerminatingOrFailed" : "Failed"}}));
      co_await b.rest();
      b.kubelet();
      co_await b.rest();
      const auto pod = b.active().front();
      static_cast<void>(co_await b.api.remove(api::res("pods"), "default", pod->name(), {}));
      co_await b.rest();
      b.clock.advance(10s);
      co_await b.rest();
      CHECK(b.active().size() == (at_once ? 1U : 0U));
      CHECK(num(b.status(), "terminating") == 1);
      CHECK(num(b.status(), "failed") == (at_once ? 1 : 0));
      b.end_deleted();
      co_await b.rest();
      b.clock.advance(10s);
      co_await b.rest();
      CHECK(b.active().size() == 1);
      CHECK(num(b.status(), "terminating", -1) == 0);
      CHECK(num(b.status(), "failed") == 1);
      b.finish_all();
      co_await b.rest();
      CHECK(b.holds("Complete"));
    });
  }
}

TEST_CASE("orphans are adopted with the finalizer, strays lose it") {
  JobBench b;
  b.run([&]() -> Task<void> {
    const Json labels = {{"batch.kubernetes.io/controller-uid", "uid-of-work"}};
    b.api.seed("pods", {{"metadata", {{"name", "orphan"}, {"labels", labels}}}});
    b.api.seed("jobs.batch", job("work", {{"completions", 2}, {"parallelism", 2}}));
    co_await b.rest();
    CHECK(b.active().size() == 2);
    auto orphan = b.api.find("pods", "default", "orphan");
    REQUIRE(orphan->controller() != nullptr);
    CHECK(has_tracking_finalizer(*orphan));
    b.edit("pods", "default", "orphan", [](Json& pod) { pod["metadata"]["labels"] = {{"app", "debug"}}; });
    co_await b.rest();
    orphan = b.api.find("pods", "default", "orphan");
    CHECK(orphan->controller() == nullptr);
    CHECK_FALSE(has_tracking_finalizer(*orphan));
    CHECK(b.active().size() == 3);
  });
}

TEST_CASE("pods whose Job is gone lose the finalizer") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 2}, {"parallelism", 2}}));
    co_await b.rest();
    REQUIRE(b.active().size() == 2);
    b.api.erase("jobs.batch", "default", "work");
    co_await b.rest();
    for (const auto& pod : b.api.all("pods")) CHECK_FALSE(has_tracking_finalizer(*pod));
    CHECK(b.active().size() == 2);  // deleting them is the garbage collector's work
  });
}

TEST_CASE("pods that were orphaned lose the finalizer, also when that happened while nobody looked") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("pods", {{"metadata", {{"name", "a"}, {"finalizers", Json::array({std::string(kTrackingFinalizer)})}}}});
    co_await b.restart();
    co_await b.rest();
    CHECK_FALSE(has_tracking_finalizer(*b.api.find("pods", "default", "a")));
  });
}

TEST_CASE("a Job that is being deleted lets its pods go") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 2}, {"parallelism", 2}}));
    co_await b.rest();
    static_cast<void>(
        co_await b.api.remove(api::res("jobs.batch"), "default", "work", {.propagation_policy = "Foreground"}));
    co_await b.rest();
    for (const auto& pod : b.api.all("pods")) CHECK_FALSE(has_tracking_finalizer(*pod));
    for (const auto& pod : b.active()) b.api.erase("pods", "default", pod->name());
    co_await b.rest();
    CHECK(b.api.all("pods").empty());  // none is made
  });
}

TEST_CASE("a Job of another controller is left alone") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"managedBy", "example.com/other"}}));
    b.api.seed("jobs.batch", job("mine", {{"managedBy", "kubernetes.io/job-controller"}}));
    co_await b.rest();
    CHECK(b.status().is_null());
    CHECK(b.active().size() == 1);
    CHECK(b.active().front()->name().starts_with("mine-"));
  });
}
