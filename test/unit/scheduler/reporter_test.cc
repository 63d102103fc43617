// PodReporter beside an informer that shows nothing of its writes yet.
#include "reporter.h"

#include "brume/base/json.h"
#include "catch.h"
#include "support/fake_client.h"
#include "support/fake_clock.h"

using namespace brume;
using namespace brume::scheduler;
using test::settle;

TEST_CASE("a nomination is written when nominate() returns, and taken away though the informer does not show it") {
  Loop loop("test");
  test::FakeClock clock;
  test::FakeClient api(clock);
  loop.start();
  loop.run_and_wait([&]() -> Task<void> {
    client::InformerFactory informers(api, loop.executor(), clock);
    TaskGroup tasks(loop.executor());
    PodReporter reporter(informers, informers.informer("pods"), tasks);  // the informer never starts
    const auto pod = decode_pod(api.seed("pods", {{"metadata", {{"name", "a"}, {"namespace", "default"}}},
                                                  {"spec", Json::object()},
                                                  {"status", {{"phase", "Pending"}}}}));
    const auto nominated = [&] {
      const Json now = api.json("pods", "default", "a");
      return std::string(str(at(now, "status"), "nominatedNodeName"));
    };
    co_await reporter.nominate(pod, "n1");
    CHECK(nominated() == "n1");
    reporter.report(pod, {.reason = "Unschedulable", .message = "no", .nominated_node = "", .nominated_before = true});
    co_await settle();
    CHECK(nominated().empty());
    // A report that is being written delays the next nomination, and neither is lost.
    reporter.report(pod, {.reason = "Unschedulable", .message = "not yet"});
    co_await reporter.nominate(pod, "n2");
    CHECK(nominated() == "n2");
    CHECK(api.json("pods", "default", "a").dump().contains("not yet"));
    co_await tasks.stop();
    co_await informers.stop();
  });
  loop.stop();
}
