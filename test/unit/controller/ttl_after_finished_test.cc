// Finished Jobs that go by themselves.
#include "job_bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

Json finished(const char* type, const Json& ttl) {
  Json out = job("work", {{"ttlSecondsAfterFinished", ttl}});
  out["status"]["conditions"] =
      Json::array({{{"type", type}, {"status", "True"}, {"lastTransitionTime", "2026-01-01T00:00:00Z"}}});
  return out;
}

bool there(const JobBench& b) { return b.api.find("jobs.batch", "default", "work") != nullptr; }

}  // namespace

TEST_CASE("a finished Job goes when its time has come") {
  for (const char* type : {"Complete", "Failed"}) {
    JobBench b({make_ttl_after_finished});
    b.run([&]() -> Task<void> {
      b.api.seed("jobs.batch", finished(type, 60));
      co_await b.rest();
      b.clock.advance(58s);
      co_await b.rest();
      CHECK_FALSE(b.api.find("jobs.batch", "default", "work")->deleting());
      b.clock.advance(2s);
      co_await b.rest();
      REQUIRE(there(b));
      CHECK(b.api.find("jobs.batch", "default", "work")->deleting());
      CHECK(b.api.find("jobs.batch", "default", "work")->finalizers() ==
            std::vector<std::string>{"foregroundDeletion"});
      const auto deletes = b.api.count("delete", "jobs.batch");
      co_await b.rest(20);
      CHECK(b.api.count("delete", "jobs.batch") == deletes);
    });
  }
}

TEST_CASE("a time of zero is at once, and a running Job or one without a time stays") {
  JobBench b({make_ttl_after_finished});
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", finished("Complete", 0));
    co_await b.rest();
    CHECK(b.api.find("jobs.batch", "default", "work")->deleting());
    for (const auto& kept : {finished("Complete", nullptr), finished("Suspended", 1)}) {
      b.api.erase("jobs.batch", "default", "work");
      b.api.seed("jobs.batch", kept);
      b.clock.advance(1h);
      co_await b.rest();
      CHECK_FALSE(b.api.find("jobs.batch", "default", "work")->deleting());
    }
  });
}

TEST_CASE("a longer time counts, also when the copy does not show it yet") {
  JobBench b({make_ttl_after_finished});
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", finished("Complete", 60));
    co_await b.rest();
    b.api.break_watches({.code = Code::kServiceUnavailable, .message = "cut"});
    b.edit_job([](Json& j) { j["spec"]["ttlSecondsAfterFinished"] = 600; });
    b.clock.advance(60s);
    co_await b.rest();
    CHECK_FALSE(b.api.find("jobs.batch", "default", "work")->deleting());
    b.clock.advance(9min);
    co_await b.rest();
    CHECK(b.api.find("jobs.batch", "default", "work")->deleting());
  });
}

TEST_CASE("what was finished while nobody looked goes after a restart") {
  JobBench b({make_ttl_after_finished});
  b.run([&]() -> Task<void> {
    b.api.seed("jobs.batch", finished("Complete", 60));
    co_await b.restart();
    b.clock.advance(61s);
    co_await b.rest();
    CHECK(b.api.find("jobs.batch", "default", "work")->deleting());
  });
}
