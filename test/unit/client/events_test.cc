#include "brume/client/events.h"

#include <memory>

#include "brume/base/task.h"
#include "brume/client/helpers.h"
#include "brume/client/parallel.h"
#include "catch.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace std::chrono_literals;

namespace {

struct Bench {
  Bench() : loop("test"), api(clock) { loop.start(); }
  ~Bench() { loop.stop(); }
  void run(std::function<Task<void>(client::EventRecorder&, const api::Object&)> body) {
    loop.run_and_wait([&]() -> Task<void> {
      client::EventRecorder recorder(api, loop.executor(), clock, "kubelet", "n1");
      const auto pod = api.seed("pods", {{"metadata", {{"name", "p"}}}});
      co_await body(recorder, *pod);
      co_await recorder.stop();
    });
  }
  Loop loop;
  test::FakeClock clock;
  test::FakeClient api;
};

}  // namespace

TEST_CASE("an event names its object and who reports") {
  Bench b;
  b.run([&](client::EventRecorder& recorder, const api::Object& pod) -> Task<void> {
    recorder.warning(pod, "Failed", "no such image");
    co_await recorder.flush();
    REQUIRE(b.api.all("events").size() == 1);
    const Json event = b.api.all("events")[0]->parse();
    CHECK(str(at(event, "involvedObject"), "uid") == pod.uid());
    CHECK(str(at(event, "involvedObject"), "kind") == "Pod");
    CHECK(str(event, "type") == "Warning");
    CHECK(str(event, "reportingComponent") == "kubelet");
    CHECK(str(at(event, "source"), "host") == "n1");
    CHECK(num(event, "count") == 1);
    CHECK(str(at(event, "metadata"), "name").starts_with("p."));
  });
}

TEST_CASE("a repeat raises the count; after its event has gone a new one counts on") {
  Bench b;
  b.run([&](client::EventRecorder& recorder, const api::Object& pod) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      recorder.normal(pod, "BackOff", "again");
      b.clock.advance(10s);
    }
    recorder.normal(pod, "BackOff", "other");
    co_await recorder.flush();
    REQUIRE(b.api.all("events").size() == 2);
    const auto first = b.api.all("events")[0];
    CHECK(num(first->parse(), "count") == 3);
    b.api.erase("events", "default", first->name());
    recorder.normal(pod, "BackOff", "again");
    co_await recorder.flush();
    bool found = false;
    for (const auto& event : b.api.all("events")) found = found || num(event->parse(), "count") == 4;
    CHECK(found);
  });
}

TEST_CASE("many messages of one reason are folded; a flood about one object is cut") {
  Bench b;
  b.run([&](client::EventRecorder& recorder, const api::Object& pod) -> Task<void> {
    for (int i = 0; i < 40; ++i) recorder.normal(pod, "Noise", "message " + std::to_string(i));
    co_await recorder.flush();
    CHECK(b.api.all("events").size() == 10);  // nine of their own and one for the rest
    std::int64_t total = 0;
    bool combined = false;
    for (const auto& event : b.api.all("events")) {
      total += num(event->parse(), "count");
      combined = combined || str(event->parse(), "message").starts_with("(combined from similar events): ");
    }
    CHECK(combined);
    CHECK(total == 25);
    b.clock.advance(300s);
    recorder.normal(pod, "Calm", "one more");
    co_await recorder.flush();
    CHECK(b.api.all("events").size() == 11);
  });
}

TEST_CASE("conditions keep their transition time until the status moves") {
  Json status;
  const WallTime now{std::chrono::seconds(1'800'000'000)};
  CHECK(client::set_condition(status, {{"type", "A"}, {"status", "True"}, {"reason", "x"}}, now));
  CHECK_FALSE(client::set_condition(status, {{"type", "A"}, {"status", "True"}, {"reason", "x"}}, now + 1min));
  CHECK(client::set_condition(status, {{"type", "A"}, {"status", "True"}, {"reason", "y"}}, now + 1min));
  CHECK(str(client::find_condition(status, "A"), "lastTransitionTime") == format_rfc3339(now));
  CHECK(client::set_condition(status, {{"type", "A"}, {"status", "False"}}, now + 1min));
  CHECK(str(client::find_condition(status, "A"), "lastTransitionTime") == format_rfc3339(now + 1min));
  client::remove_condition(status, "A");
  CHECK(client::find_condition(status, "A").is_null());
}

TEST_CASE("retry_on_conflict reads anew and gives up after five") {
  Bench b;
  b.run([&](client::EventRecorder&, const api::Object&) -> Task<void> {
    b.api.seed("configmaps", {{"metadata", {{"name", "m"}}}, {"data", {{"n", "0"}}}});
    int reads = 0;
    const auto change = [&](Json& map) {
      // Someone else writes between our read and our write, twice.
      if (++reads <= 2)
        b.api.seed("configmaps", {{"metadata", {{"name", "m"}}}, {"data", {{"n", std::to_string(reads)}}}});
      map["data"]["mine"] = "yes";
      return true;
    };
    auto done = co_await client::retry_on_conflict(b.api, api::res("configmaps"), "default", "m", change);
    REQUIRE(done.has_value());
    CHECK(reads == 3);
    CHECK(str(at(b.api.json("configmaps", "default", "m"), "data"), "n") == "2");
    int more = 0;
    const auto always = [&](Json& map) {
      b.api.seed("configmaps", {{"metadata", {{"name", "m"}}}, {"data", {{"n", "x" + std::to_string(++more)}}}});
      map["data"]["mine"] = "no";
      return true;
    };
    auto failed = co_await client::retry_on_conflict(b.api, api::res("configmaps"), "default", "m", always);
    REQUIRE_FALSE(failed.has_value());
    CHECK(failed.error().code == Code::kConflict);
    CHECK(more == 5);
  });
}

TEST_CASE("for_each_parallel overlaps up to its limit and ends with its caller") {
  Bench b;
  b.run([&](client::EventRecorder&, const api::Object&) -> Task<void> {
    int running = 0;
    int most = 0;
    int done = 0;
    co_await client::for_each_parallel(
        20,
        [&](std::size_t) -> Task<void> {
          most = std::max(most, ++running);
          co_await yield_now();
          --running;
          ++done;
        },
        4);
    CHECK(done == 20);
    CHECK(most == 4);
    auto group = std::make_unique<TaskGroup>(b.loop.executor());
    bool started = false;
    auto endless = [](bool* flag) -> Task<void> {
      co_await client::for_each_parallel(3, [flag](std::size_t) -> Task<void> {
        *flag = true;
        co_await sleep_for(1h);
      });
    };
    group->spawn("endless", endless(&started));
    co_await test::settle(10);
    co_await group->stop();
    CHECK(started);
    group.reset();
  });
}
