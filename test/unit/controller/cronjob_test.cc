// CronJobs on a clock that tests drive. It begins at 2026-01-01T00:00:00Z, 29453760 minutes after 1970.
#include "job_bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kFirstMinute = 29'453'760;

std::string name_at(std::int64_t minute) { return "tick-" + std::to_string(kFirstMinute + minute); }

Json cron_job(const Json& spec = Json::object()) {
  Json out = {{"metadata", {{"name", "tick"}, {"uid", "uid-of-tick"}}},
              {"spec",
               {{"schedule", "*/10 * * * *"},
                {"concurrencyPolicy", "Allow"},
                {"suspend", false},
                {"successfulJobsHistoryLimit", 3},
                {"failedJobsHistoryLimit", 1},
                {"jobTemplate",
                 {{"metadata", {{"labels", {{"from", "template"}}}}},
                  {"spec", {{"template", {{"spec", {{"restartPolicy", "Never"}}}}}}}}}}}};
  out["spec"].merge_patch(spec);
  return out;
}

class CronBench : public JobBench {
 public:
  CronBench() : JobBench({make_cronjob}) { setenv("TZ", "UTC", 1); }

  [[nodiscard]] Json cron() const { return api.json("cronjobs.batch", "default", "tick"); }
  [[nodiscard]] Json cron_status() const { return at(cron(), "status"); }
  [[nodiscard]] std::vector<std::string> jobs() const {
    std::vector<std::string> out;
    for (const auto& job : api.all("jobs.batch")) out.push_back(job->name());
    return out;
  }
  [[nodiscard]] std::vector<std::string> active_names() const {
    std::vector<std::string> out;
    const Json active = at(cron_status(), "active");
    for (const auto& ref : active) out.emplace_back(str(ref, "name"));
    return out;
  }
  void end(const std::string& job, const char* type = "Complete") {
    const auto now = format_rfc3339(clock.now());
    Json status = {{"startTime", now}, {"conditions", Json::array({{{"type", type}, {"status", "True"}}})}};
    if (std::string_view(type) == "Complete") status["completionTime"] = now;
    api.set_status("jobs.batch", "default", job, status);
  }
  void edit_cron(std::function<void(Json&)> change) { edit("cronjobs.batch", "default", "tick", std::move(change)); }
  Task<void> pass(std::chrono::steady_clock::duration time) {
    clock.advance(time);
    co_await rest(2);
  }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a CronJob makes a Job at each of its times") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job());
    co_await b.rest();
    CHECK(b.jobs().empty());
    CHECK_FALSE(b.cron().contains("status"));
    co_await b.pass(9min);
    CHECK(b.jobs().empty());
    co_await b.pass(1min);
    REQUIRE(b.jobs() == Names{name_at(10)});
    const auto job = b.api.find("jobs.batch", "default", name_at(10));
    CHECK(job->label("from") == "template");
    CHECK(job->controller()->kind == "CronJob");
    CHECK(job->controller()->uid == "uid-of-tick");
    CHECK(str(at(job->parse(), "metadata", "annotations"), "batch.kubernetes.io/cronjob-scheduled-timestamp") ==
          "2026-01-01T00:10:00Z");
    CHECK(str(at(job->parse(), "spec", "template", "spec"), "restartPolicy") == "Never");
    CHECK(b.active_names() == Names{name_at(10)});
    const Json ref = at(b.cron_status(), "active").at(0);
    CHECK(str(ref, "kind") == "Job");
    CHECK(str(ref, "apiVersion") == "batch/v1");
    CHECK(str(ref, "uid") == job->uid());
    CHECK(str(b.cron_status(), "lastScheduleTime") == "2026-01-01T00:10:00Z");
    CHECK(b.events("SuccessfulCreate") == Names{"Created job " + name_at(10)});
    b.end(name_at(10));
    co_await b.rest();
    CHECK(b.active_names().empty());
    CHECK(str(b.cron_status(), "lastSuccessfulTime").starts_with("2026-01-01T00:10:0"));
    CHECK(b.events("SawCompletedJob") == Names{"Saw completed job: " + name_at(10) + ", condition: Complete"});
    co_await b.pass(10min);
    CHECK(b.jobs() == Names{name_at(10), name_at(20)});
    CHECK(b.events("UnexpectedJob").empty());
  });
}

TEST_CASE("finished Jobs beyond the limits go, the oldest first") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job({{"successfulJobsHistoryLimit", 2}, {"failedJobsHistoryLimit", 0}}));
    co_await b.rest();
    for (int minute = 10; minute <= 40; minute += 10) {
      co_await b.pass(10min);
      b.end(name_at(minute), minute == 20 ? "Failed" : "Complete");
      co_await b.rest();
    }
    CHECK(b.jobs() == Names{name_at(30), name_at(40)});
    CHECK(b.events("SuccessfulDelete").size() == 2);
  });
}

TEST_CASE("concurrency: allow, forbid, replace") {
  for (const std::string policy : {"Allow", "Forbid", "Replace"}) {
    CronBench b;
    b.run([&]() -> Task<void> {
      b.api.seed("cronjobs.batch", cron_job({{"concurrencyPolicy", policy}}));
      co_await b.rest();
      co_await b.pass(10min);
      co_await b.pass(10min);
      if (policy == "Allow") {
        CHECK(b.active_names() == Names{name_at(10), name_at(20)});
      } else if (policy == "Forbid") {
        CHECK(b.active_names() == Names{name_at(10)});
        CHECK(b.events("JobAlreadyActive") ==
              Names{"Not starting job because prior execution is running and concurrency policy is Forbid"});
        b.end(name_at(10));  // what was forbidden is made up for
        co_await b.rest();
        CHECK(b.active_names() == Names{name_at(20)});
      } else {
        CHECK(b.jobs() == Names{name_at(20)});
        CHECK(b.active_names() == Names{name_at(20)});
        CHECK(b.events("SuccessfulDelete") == Names{"Deleted job " + name_at(10)});
      }
    });
  }
}

TEST_CASE("suspended, and made up for when resumed") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job({{"suspend", true}}));
    co_await b.rest();
    co_await b.pass(35min);
    CHECK(b.jobs().empty());
    b.edit_cron([](Json& c) { c["spec"]["suspend"] = false; });
    co_await b.rest();
    CHECK(b.jobs() == Names{name_at(30)});
  });
}

TEST_CASE("a deadline: too late is missed") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job({{"suspend", true}, {"startingDeadlineSeconds", 60}}));
    co_await b.rest();
    co_await b.pass(15min);
    b.edit_cron([](Json& c) { c["spec"]["suspend"] = false; });
    co_await b.rest();
    CHECK(b.jobs().empty());
    co_await b.pass(5min);
    CHECK(b.jobs() == Names{name_at(20)});
  });
}

TEST_CASE("a hundred missed times are warned of, and lead to one Job") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job({{"schedule", "* * * * *"}, {"suspend", true}}));
    co_await b.rest();
    co_await b.pass(5h + 30s);
    b.edit_cron([](Json& c) { c["spec"]["suspend"] = false; });
    co_await b.rest();
    CHECK(b.jobs() == Names{name_at(300)});
    CHECK(b.events("TooManyMissedTimes") ==
          Names{"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"});
  });
}

TEST_CASE("a schedule that changes counts from its next time") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job({{"schedule", "0 12 * * *"}}));
    co_await b.rest();
    co_await b.pass(35min);
    b.edit_cron([](Json& c) { c["spec"]["schedule"] = "*/10 * * * *"; });
    co_await b.rest();
    CHECK(b.jobs().empty());
    co_await b.pass(5min);
    CHECK(b.jobs() == Names{name_at(40)});
  });
}

TEST_CASE("a Job that was made before the process died is found again") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job());
    co_await b.rest();
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "update" || call.resource != "cronjobs.batch") return std::nullopt;
      return Error{.code = Code::kServiceUnavailable, .message = "died"};
    });
    co_await b.pass(10min);
    CHECK(b.jobs() == Names{name_at(10)});
    CHECK(b.active_names().empty());
    b.api.clear_reactors();
    co_await b.restart();
    co_await b.rest();
    CHECK(b.jobs() == Names{name_at(10)});
    CHECK(b.active_names() == Names{name_at(10)});
    CHECK(str(b.cron_status(), "lastScheduleTime") == "2026-01-01T00:10:00Z");
    REQUIRE_FALSE(b.events("UnexpectedJob").empty());
    CHECK(b.events("UnexpectedJob").front() ==
          "Saw a job that the controller did not create or forgot: " + name_at(10));
  });
}

TEST_CASE("another's Job of the same name takes the time") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", job(name_at(10)));
    b.api.seed("cronjobs.batch", cron_job());
    co_await b.rest();
    co_await b.pass(10min);
    CHECK(b.active_names().empty());
    co_await b.pass(10min);
    CHECK(b.active_names() == Names{name_at(20)});
  });
}

TEST_CASE("an active Job that is gone is told and forgotten") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job());
    co_await b.rest();
    co_await b.pass(10min);
    b.api.erase("jobs.batch", "default", name_at(10));
    co_await b.rest();
    CHECK(b.active_names().empty());
    CHECK(b.events("MissingJob") == Names{"Active job went missing: " + name_at(10)});
  });
}

TEST_CASE("Jobs that cannot be made are reported and tried again") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job());
    co_await b.rest();
    b.api.react([](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (call.verb != "create" || call.resource != "jobs.batch") return std::nullopt;
      return Error{.code = Code::kForbidden, .message = "exceeded quota"};
    });
    co_await b.pass(10min);
    CHECK(b.events("FailedCreate") == Names{"Error creating job: exceeded quota"});
    b.api.clear_reactors();
    co_await b.pass(30s);
    CHECK(b.jobs() == Names{name_at(10)});
  });
}

TEST_CASE("what has no time is told") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job({{"schedule", "59 23 31 2 *"}}));
    co_await b.rest();
    CHECK(b.events("InvalidSchedule") ==
          Names{"invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second"});
    b.api.seed("cronjobs.batch", cron_job({{"schedule", "x"}}));
    co_await b.rest();
    CHECK(b.events("UnparseableSchedule") ==
          Names{"unparseable schedule: \"x\" : expected exactly 5 fields, found 1: [x]"});
    b.api.seed("cronjobs.batch", cron_job({{"timeZone", "Nowhere/Land"}}));
    co_await b.rest();
    CHECK(b.events("UnknownTimeZone") == Names{"invalid timeZone: \"Nowhere/Land\": unknown time zone Nowhere/Land"});
    CHECK(b.jobs().empty());
  });
}

TEST_CASE("a wall clock that is set is noticed, and starts one Job, not many") {
  CronBench b;
  b.run([&]() -> Task<void> {
    b.api.seed("cronjobs.batch", cron_job());
    co_await b.rest();
    b.clock.set_wall(5h);
    co_await b.rest();
    CHECK(b.jobs().empty());
    co_await b.pass(1min);
    CHECK(b.jobs() == Names{name_at(300)});
    b.end(name_at(300));
    // Back again: the schedule goes on from there.
    b.clock.set_wall(-5h);
    co_await b.pass(1min);
    co_await b.pass(10min);
    CHECK(b.jobs() == Names{name_at(10), name_at(300)});
    const auto made = b.api.count("create", "jobs.batch");
    co_await b.pass(5min);
    CHECK(b.api.count("create", "jobs.batch") == made);
  });
}

TEST_CASE("no CronJob, no timer") {
  CronBench b;
  b.run([&]() -> Task<void> {
    co_await b.rest();
    CHECK(b.clock.sleepers() == 0);
    b.api.seed("cronjobs.batch", cron_job({{"suspend", true}}));
    co_await b.rest();
    CHECK(b.clock.sleepers() == 1);
    b.api.erase("cronjobs.batch", "default", "tick");
    co_await b.pass(1min);
    CHECK(b.clock.sleepers() == 0);
  });
}

TEST_CASE("a CronJob that is being deleted starts nothing") {
  CronBench b;
  b.run([&]() -> Task<void> {
    Json cron = cron_job();
    cron["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    cron["metadata"]["finalizers"] = Json::array({"foregroundDeletion"});
    b.api.seed("cronjobs.batch", cron);
    co_await b.rest();
    co_await b.pass(15min);
    b.edit_cron([](Json& c) { c["metadata"]["annotations"]["a"] = "b"; });
    co_await b.rest();
    CHECK(b.jobs().empty());
  });
}
