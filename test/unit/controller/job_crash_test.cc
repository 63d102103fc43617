// The counts of a Job when the process dies between any two of its writes.
#include "job_bench.h"

using namespace brume;
using namespace brume::controller;
using namespace std::chrono_literals;

namespace {

bool is_write(const test::FakeClient::Call& call) {
  const bool writes = call.verb == "create" || call.verb == "update" || call.verb == "patch" || call.verb == "delete";
  return writes && (call.resource == "pods" || call.resource == "jobs.batch");
}

constexpr int kRuns = -1;

struct Outcome {
  Json status;
  std::int64_t writes = 0;
};

// Runs a Job to its end. Every write after the `last` is lost, and with it the process; then it starts again.
// `code` says with which code a pod ends, or that it goes on.
Outcome run(const Json& spec, std::int64_t last, const std::function<int(const ObjectPtr&)>& code) {
  Outcome outcome;
  JobBench b;
  b.run([&]() -> Task<void> {
    b.api.react([&](const test::FakeClient::Call& call) -> std::optional<Error> {
      if (!is_write(call)) return std::nullopt;
      if (++outcome.writes <= last) return std::nullopt;
      return Error{.code = Code::kServiceUnavailable, .message = "died"};
    });
    b.api.seed("jobs.batch", job("work", spec));
    bool died = false;
    for (int turn = 0; turn < 60 && finished_condition(b.status()).empty(); ++turn) {
      co_await b.rest(2);
      if (!died && outcome.writes > last) {
        died = true;
        b.api.clear_reactors();
        co_await b.restart();
        co_await b.rest(2);
      }
      for (const auto& pod : b.active()) {
        if (const int end = code(pod); end != kRuns) b.finish(pod, end);
      }
      b.end_deleted();
      b.clock.advance(61s);
    }
    co_await b.rest();
    outcome.status = b.status();
    for (const auto& pod : b.api.all("pods")) CHECK_FALSE(has_tracking_finalizer(*pod));
  });
  return outcome;
}

// The outcome without a crash, and that of a crash after each write, must be the same.
void compare(const Json& spec, std::int64_t succeeded, std::int64_t failed,
             const std::function<std::function<int(const ObjectPtr&)>()>& codes) {
  constexpr auto kNever = std::int64_t{1} << 40;
  const auto whole = run(spec, kNever, codes());
  REQUIRE(num(whole.status, "succeeded") == succeeded);
  REQUIRE(num(whole.status, "failed") == failed);
  REQUIRE(whole.writes > 8);
  for (std::int64_t last = 0; last < whole.writes; ++last) {
    INFO("the last write is number " << last << " of " << whole.writes);
    const auto cut = run(spec, last, codes());
    CHECK(num(cut.status, "succeeded") == succeeded);
    CHECK(num(cut.status, "failed") == failed);
    CHECK(finished_condition(cut.status) == finished_condition(whole.status));
    CHECK(str(cut.status, "completedIndexes") == str(whole.status, "completedIndexes"));
    CHECK(str(cut.status, "failedIndexes") == str(whole.status, "failedIndexes"));
    CHECK(at(cut.status, "uncountedTerminatedPods").empty());
  }
}

}  // namespace

TEST_CASE("a Job's counts are right whenever the process dies") {
  // The first two pods to end fail, the others succeed.
  compare({{"completions", 4}, {"parallelism", 2}}, 4, 2, [] {
    auto count = std::make_shared<int>(0);
    return [count](const ObjectPtr&) { return (*count)++ < 2 ? 1 : 0; };
  });
}

TEST_CASE("an indexed Job's counts are right whenever the process dies") {
  // Index 1 fails for ever, the others succeed.
  compare({{"completions", 4},
           {"parallelism", 2},
           {"completionMode", "Indexed"},
           {"backoffLimit", 2147483647},
           {"backoffLimitPerIndex", 1}},
          3, 2, [] { return [](const ObjectPtr& pod) { return decode_job_pod(*pod)->index == 1 ? 1 : 0; }; });
}

TEST_CASE("a failing Job's counts are right whenever the process dies") {
  // Two pods fail, which is one too many; the third runs until it is deleted.
  compare({{"completions", 3}, {"parallelism", 3}, {"backoffLimit", 1}}, 0, 3, [] {
    auto count = std::make_shared<int>(0);
    return [count](const ObjectPtr&) { return (*count)++ < 2 ? 1 : kRuns; };
  });
}
