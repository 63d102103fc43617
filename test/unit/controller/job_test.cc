// Jobs: completion, limits, counting.
#include <algorithm>

#include "job.h"
#include "job_bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

const JobController* seen = nullptr;

std::unique_ptr<Controller> make_seen_job(Context& context) {
  auto made = std::make_unique<JobController>(context);
  seen = made.get();
  return made;
}

}  // namespace

TEST_CASE("a Job runs as many pods as it may until enough have succeeded") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 5}, {"parallelism", 2}}));
    co_await b.rest();
    REQUIRE(b.active().size() == 2);
    const auto pod = b.active().front();
    CHECK(pod->name().starts_with("work-"));
    CHECK(has_tracking_finalizer(*pod));
    CHECK(pod->controller()->kind == "Job");
    CHECK(pod->controller()->uid == "uid-of-work");
    CHECK(pod->label("batch.kubernetes.io/job-name") == "work");
    CHECK(num(b.status(), "active") == 2);
    CHECK(num(b.status(), "ready", -1) == 0);
    CHECK(num(b.status(), "terminating", -1) == 0);
    CHECK(str(b.status(), "startTime") == "2026-01-01T00:00:00Z");
    CHECK(at(b.status(), "uncountedTerminatedPods") == Json::object());
    CHECK(b.events("SuccessfulCreate").size() == 2);
    b.kubelet();
    co_await b.rest();
    CHECK(num(b.status(), "ready") == 2);
    for (int round = 0; round < 3; ++round) {
      CHECK(b.active().size() <= 2);
      b.finish_all();
      co_await b.rest();
    }
    CHECK(num(b.status(), "succeeded") == 5);
    CHECK(b.api.count("create", "pods") == 5);
    CHECK(b.conditions() == "SuccessCriteriaMet,Complete");
    CHECK(str(b.condition("Complete"), "reason") == "CompletionsReached");
    CHECK(str(b.condition("Complete"), "message") == "Reached expected number of succeeded pods");
    CHECK_FALSE(str(b.status(), "completionTime").empty());
    CHECK(b.events("Completed") == std::vector<std::string>{"Job completed"});
    for (const auto& left : b.api.all("pods")) CHECK_FALSE(has_tracking_finalizer(*left));
    const auto before = b.api.revision();
    co_await b.rest(40);
    CHECK(b.api.revision() == before);
  });
}

TEST_CASE("a Job whose own selector has no requirements keeps its pods") {
  JobBench b;
  b.run([&]() -> Task<void> {
    Json value = job("work", {{"parallelism", 2}, {"completions", 2}, {"manualSelector", true}});
    value["spec"]["selector"] = Json::object();
    b.api.seed("jobs.batch", std::move(value));
    co_await b.rest();
    co_await b.rest();
    CHECK(b.active().size() == 2);
    CHECK(b.api.all("pods").size() == 2);
  });
}

TEST_CASE("without completions one success ends the Job when the others have ended") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", nullptr}, {"parallelism", 3}}));
    co_await b.rest();
    REQUIRE(b.active().size() == 3);
    b.finish(b.active().front());
    co_await b.rest();
    CHECK(b.active().size() == 2);  // no new ones
    CHECK_FALSE(b.holds("Complete"));
    b.finish_all(1);
    co_await b.rest();
    CHECK(b.conditions() == "SuccessCriteriaMet,Complete");
    CHECK(num(b.status(), "succeeded") == 1);
    CHECK(num(b.status(), "failed") == 2);
  });
}

TEST_CASE("no completions wanted: complete at once") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 0}}));
    co_await b.rest();
    CHECK(b.conditions() == "SuccessCriteriaMet,Complete");
    CHECK(b.api.all("pods").empty());
  });
}

TEST_CASE("failed pods are replaced after a pause that doubles, until the limit") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"backoffLimit", 2}}));
    co_await b.rest();
    for (const auto pause : {10s, 20s}) {
      REQUIRE(b.active().size() == 1);
      b.finish_all(1);
      co_await b.rest();
      CHECK(b.active().empty());
      b.clock.advance(pause - 2s);
      co_await b.rest();
      CHECK(b.active().empty());
      b.clock.advance(2s);
      co_await b.rest();
    }
    REQUIRE(b.active().size() == 1);
    b.finish_all(1);
    co_await b.rest();
    CHECK(num(b.status(), "failed") == 3);
    CHECK(b.conditions() == "FailureTarget,Failed");
    CHECK(str(b.condition("Failed"), "reason") == "BackoffLimitExceeded");
    CHECK(str(b.condition("Failed"), "message") == "Job has reached the specified backoff limit");
    CHECK(b.events("BackoffLimitExceeded").size() == 1);
    CHECK_FALSE(b.status().contains("completionTime"));
    b.clock.advance(1h);
    co_await b.rest();
    CHECK(b.api.count("create", "pods") == 3);
  });
}

TEST_CASE("a success ends the pause") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 4}, {"parallelism", 2}}));
    co_await b.rest();
    auto pods = b.active();
    REQUIRE(pods.size() == 2);
    b.finish(pods[0], 1);
    co_await b.rest();
    CHECK(b.active().size() == 1);
    CHECK(num(b.status(), "active") == 1);
    b.clock.advance(2s);
    b.finish(pods[1]);
    co_await b.rest();
    CHECK(b.active().size() == 2);
  });
}

TEST_CASE("a Job that fails takes its running pods with it, and waits for their end") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 3}, {"parallelism", 3}, {"backoffLimit", 0}}));
    co_await b.rest();
    b.kubelet();
    co_await b.rest();
    b.finish(b.active().front(), 1);
    co_await b.rest();
    CHECK(b.active().empty());
    CHECK(b.conditions() == "FailureTarget");
    CHECK(num(b.status(), "failed") == 3);
    CHECK(num(b.status(), "terminating") == 2);
    CHECK(num(b.status(), "active") == 0);
    CHECK(b.events("SuccessfulDelete").size() == 2);
    CHECK(b.events("BackoffLimitExceeded").empty());
    b.end_deleted();
    co_await b.rest();
    CHECK(b.conditions() == "FailureTarget,Failed");
    CHECK(num(b.status(), "failed") == 3);
    CHECK(num(b.status(), "terminating", -1) == 0);
    CHECK(b.events("BackoffLimitExceeded").size() == 1);
  });
}

TEST_CASE("restarts within pods count against the limit when containers restart in place") {
  JobBench b;
  b.run([&]() -> Task<void> {
    Json work = job("work", {{"backoffLimit", 3}});
    work["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure";
    b.api.seed("jobs.batch", work);
    co_await b.rest();
    const auto set_restarts = [&](int containers, int init) {
      b.api.set_status("pods", "default", b.active().front()->name(),
                       {{"phase", "Running"},
                        {"containerStatuses", Json::array({{{"name", "c"}, {"restartCount", containers}}})},
                        {"initContainerStatuses", Json::array({{{"name", "i"}, {"restartCount", init}}})}});
    };
    set_restarts(1, 1);
    co_await b.rest();
    CHECK_FALSE(b.holds("FailureTarget"));
    set_restarts(2, 1);
    co_await b.rest();
    CHECK(b.holds("FailureTarget"));
    CHECK(str(b.condition("FailureTarget"), "reason") == "BackoffLimitExceeded");
  });
}

TEST_CASE("the deadline ends a Job, without an event to tell") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"activeDeadlineSeconds", 60}}));
    co_await b.rest();
    b.clock.advance(58s);
    co_await b.rest();
    CHECK_FALSE(b.holds("FailureTarget"));
    b.clock.advance(2s);
    co_await b.rest();
    CHECK(b.conditions() == "FailureTarget,Failed");
    CHECK(str(b.condition("Failed"), "reason") == "DeadlineExceeded");
    CHECK(str(b.condition("Failed"), "message") == "Job was active longer than specified deadline");
    CHECK(b.active().empty());
    CHECK(num(b.status(), "failed") == 1);
  });
}

TEST_CASE("pods that cannot be made are reported and tried again") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "pods") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota"};
    });
    b.api.seed("jobs.batch", job("work", {{"completions", 100}, {"parallelism", 100}}));
    co_await test::settle(200);
    CHECK(b.api.count("create", "pods") <= 2);
    CHECK(num(b.status(), "active") == 0);
    CHECK(b.events("FailedCreate") == std::vector<std::string>{"Error creating: exceeded quota"});
    b.api.clear_reactors();
    b.clock.advance(30s);
    co_await b.rest(40);
    CHECK(b.active().size() == 100);
    CHECK(num(b.status(), "active") == 100);
  });
}

TEST_CASE("a conflict on the status loses no count") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 3}, {"parallelism", 3}}));
    co_await b.rest();
    b.finish_all();
    // A user's change that the copy does not show yet.
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    b.edit_job([](Json& j) { j["metadata"]["annotations"]["note"] = "x"; });
    co_await b.rest(30);
    CHECK(num(b.status(), "succeeded") == 3);
    CHECK(b.holds("Complete"));
  });
}

TEST_CASE("more pods end at once than one status can name") {
  for (const char* mode : {"NonIndexed", "Indexed"}) {
    JobBench b;
    b.run([&]() -> Task<void> {
      b.api.seed("jobs.batch", job("work", {{"completions", 620}, {"parallelism", 620}, {"completionMode", mode}}));
      co_await b.rest(20);
      REQUIRE(b.active().size() == 620);
      std::size_t most = 0;
      b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
        if (call.verb == "update" && call.resource == "jobs.batch") {
          most = std::max(most, at(call.body, "status", "uncountedTerminatedPods", "succeeded").size());
        }
        return std::nullopt;
      });
      b.finish_all();
      co_await b.rest(20);
      CHECK(most == (std::string_view(mode) == "Indexed" ? 0U : 500U));
      CHECK(num(b.status(), "succeeded") == 620);
      CHECK(b.conditions() == "SuccessCriteriaMet,Complete");
      for (const auto& pod : b.api.all("pods")) CHECK_FALSE(has_tracking_finalizer(*pod));
    });
  }
}

TEST_CASE("too many successes are told") {
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job("work", {{"completions", 2}, {"parallelism", 2}}));
    co_await b.rest();
    b.edit_job([](Json& j) { j["spec"]["completions"] = 1; });
    b.finish_all();
    co_await b.rest();
    CHECK(b.holds("Complete"));
    CHECK(b.events("TooManySucceededPods").size() == 1);
  });
}

TEST_CASE("nothing is remembered of a Job that was deleted while it was looked at") {
  for (const char* verb : {"create", "patch", "update"}) {
    INFO(verb);
    JobBench b({make_seen_job});
    b.run([&]() -> Task<void> {
      b.api.seed("jobs.batch", job("work", {{"completions", 60}, {"parallelism", 60}}));
      int calls = 0;
      const auto gone_at = [&](const std::string& resource) {
        b.api.react([&, resource](const test::FakeClient::Call& call) -> std::optional<Error> {
          // Some way into a row of such calls, so that those after it end when the Job is known to be gone.
          const bool row = resource == "pods";
          if (call.verb == verb && call.resource == resource && ++calls == (row ? 10 : 1)) {
            b.api.erase("jobs.batch", "default", "work");
          }
          return {};
        });
      };
      if (std::string_view(verb) == "create") gone_at("pods");
      co_await b.rest();
      if (std::string_view(verb) != "create") {
        REQUIRE(b.active().size() == 60);
        gone_at(std::string_view(verb) == "patch" ? "pods" : "jobs.batch");
        b.finish_all();
        co_await b.rest();
      }
      REQUIRE_FALSE(b.api.find("jobs.batch", "default", "work"));
      CHECK(seen->remembered() == 0);
    });
  }
}
